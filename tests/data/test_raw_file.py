import gzip
import resource

import pytest

from p5mm.data import raw_file
from p5mm.data.tables import read_table
from p5mm.errors import InputError


def test_a_small_file_that_unzips_to_much_is_refused_early(tmp_path):
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b"item_id,name\n")
        for _ in range(600):
            file.write(b"a,bbbbbbbb\n" * 100_000)
    assert path.stat().st_size < 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="unzips to more than 268,435,456 bytes: 100 times"):
        read_table(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 900_000, f"{grown} kB"  # 660 MB of text took 2 GB


def test_what_unzips_within_bounds_is_read(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"item_id\n") + gzip.compress(b"a\n" * 10_000))
    monkeypatch.setattr(raw_file, "SMALL", 20_008)
    assert len(read_table(path)) == 10_000
    monkeypatch.setattr(raw_file, "SMALL", 20_007)
    monkeypatch.setattr(raw_file, "RATIO", 2)
    with pytest.raises(InputError, match="unzips to more than 20,007 bytes"):
        read_table(path)


def test_zipped_twice_is_said(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(gzip.compress(b"item_id\na\n")))
    with pytest.raises(InputError, match="is zipped twice"):
        read_table(path)


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 64])
@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("h\n" + "é👍" * 9, None),
        (b"h\r\nab\xc3\n", 2),
        (b"h\nab\ncd\xe2\x82", 3),
        (b"\xff", 1),
    ],
)
def test_utf8_is_checked_in_pieces(tmp_path, monkeypatch, piece, data, line):
    monkeypatch.setattr(raw_file, "_PIECE", piece)
    if line is None:
        raw_file.check_text(data.encode(), tmp_path / "t.csv")
        return
    with pytest.raises(InputError, match=rf"not UTF-8 \(line {line}\)"):
        raw_file.check_text(data, tmp_path / "t.csv")
