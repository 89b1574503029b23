"""Whatever a tar is, its whole members are found, and the rest is told."""

import gzip
import random
import tarfile
import tracemalloc

import pytest

from p5mm.data.shards.members import Damage, Member, is_tar, members
from p5mm.errors import InputError

FILES = {f"{n:03}.jpg": bytes([n]) * (n * 37) for n in range(20)}


def read(path):
    return {
        m.part.name: m.part.read() for m in members(path) if isinstance(m, Member) and not m.refused
    }


def refusals(path):
    return [m.refused for m in members(path) if isinstance(m, Member) and m.refused]


def damages(path):
    return [m.what for m in members(path) if isinstance(m, Damage)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_member_is_where_tarfile_finds_it(tar, form):
    long = {"f/" * 60 + "a.jpg": b"long name", "ü.b.PNG": b"x", "./c.txt": b"y"}
    path = tar("a.tar", FILES | long if form != tarfile.USTAR_FORMAT else FILES, form)
    with tarfile.open(path) as file:
        expected = {i.name.removeprefix("./"): file.extractfile(i).read() for i in file}
    assert read(path) == expected
    assert damages(path) == []
    found = {m.part.name: (m.key, m.suffix) for m in members(path)}
    assert found["003.jpg"] == ("003", "jpg")
    if form != tarfile.USTAR_FORMAT:
        assert found["ü.b.PNG"] == ("ü", "b.png")
        assert found["f/" * 60 + "a.jpg"] == ("f/" * 60 + "a", "jpg")


def test_wherever_a_tar_is_cut_its_whole_members_are_used(tar):
    path = tar("a.tar", FILES)
    data = path.read_bytes()
    with tarfile.open(path) as file:
        ends = {i.name: i.offset_data + i.size for i in file}
        last = file.offset  # of the end mark
    for cut in [*random.Random(0).sample(range(600, last), 60), last - 1, last, last + 1]:
        path.write_bytes(data[:cut])
        whole = {name: FILES[name] for name, end in ends.items() if end <= cut}
        assert read(path) == whole
        assert len(damages(path)) == 1
        assert f"cut or damaged behind {len(list(members(path))) - 1} files" in damages(path)[0]
    path.write_bytes(data[: last + 512])
    assert (read(path), damages(path)) == (FILES, [])


def test_a_damaged_header_is_told(tar):
    path = tar("a.tar", FILES)
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as file:
        place = file.getmember("010.jpg").offset
    data[place : place + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert list(read(path)) == list(FILES)[:10]
    assert "behind 10 files" in damages(path)[0]


def test_links_devices_and_ways_out_are_refused(tar):
    kinds = {
        "a.jpg": tarfile.SYMTYPE, "b.jpg": tarfile.LNKTYPE, "c.jpg": tarfile.CHRTYPE,
        "d.jpg": tarfile.BLKTYPE, "e.jpg": tarfile.FIFOTYPE, "f.jpg": b"Z",
    }  # fmt: skip
    odd = []
    for name, kind in kinds.items():
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        odd.append(info)
    ways = [("../g.jpg", b"x"), ("/h.jpg", b"x"), ("i/../../j.jpg", b"x"), ("k.jpg", b"x"),
            (".hidden.jpg", b"x"), ("._k.jpg", b"x"), (".git/l.jpg", b"x")]  # fmt: skip
    path = tar("a.tar", odd + ways)
    assert read(path) == {"k.jpg": b"x"}
    told = refusals(path)
    assert len(told) == 6
    assert ["link" in why for why in told] == [1, 1, 0, 0, 0, 0]
    assert ["device" in why for why in told] == [0, 0, 1, 1, 1, 0]
    assert len(damages(path)) == 3
    assert all("leads out of the tar" in why for why in damages(path))


def header(size, kind=tarfile.REGTYPE, name="big.jpg"):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME,
                                  tarfile.GNUTYPE_SPARSE, tarfile.XGLTYPE])  # fmt: skip
@pytest.mark.parametrize("size", [10 * 2**30, 2**62, -512, -(2**40)])
def test_giant_and_negative_sizes_cost_nothing(tar, kind, size):
    path = tar("a.tar", {"a.jpg": b"x"})
    data = path.read_bytes()[:1024]
    with path.open("wb") as file:
        file.write(data + header(size, kind))
        file.truncate(20 * 2**30)  # sparse: 20 GB of zeros
    tracemalloc.start()
    try:
        assert read(path) == {"a.jpg": b"x"}
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert refusals(path) + damages(path)


def test_a_picture_over_the_limit_is_refused(tar, monkeypatch):
    monkeypatch.setattr("p5mm.encoders.values.part.MOST_BYTES", 100)
    path = tar("a.tar", {"a.jpg": b"x" * 101, "b.jpg": b"y" * 100})
    assert list(read(path)) == ["b.jpg"]
    assert refusals(path) == ["'a.tar/a.jpg' has 101 bytes, over the limit of 100"]


@pytest.mark.parametrize("data", [b"", b"x" * 2000, b"\x89PNG" * 400, b"\0" * 100])
def test_what_is_no_tar_is_named(tmp_path, data):
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tar is (empty|no tar)"):
        list(members(path))


def test_zipped_tars_are_refused_with_a_word(tar, tmp_path):
    path = tmp_path / "b.tar.gz"
    path.write_bytes(gzip.compress(tar("a.tar", FILES).read_bytes()))
    assert is_tar(path)
    with pytest.raises(InputError, match=r"is zipped.*: gzip -d .*b\.tar\.gz"):
        list(members(path))


def test_a_tar_that_changes_is_not_read_on(tar):
    path = tar("a.tar", FILES)
    first = next(iter(members(path)))
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    with pytest.raises(ValueError, match="was changed"):
        first.part.read()


def test_any_bytes_end_well(tar):
    path = tar("a.tar", FILES, tarfile.PAX_FORMAT)
    data = path.read_bytes()
    luck, read, refused = random.Random(0), 0, 0
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(luck.randrange(1, 40)):
            broken[luck.randrange(len(broken))] = luck.randrange(256)
        path.write_bytes(broken)
        try:
            for member in members(path):
                if isinstance(member, Member) and not member.refused:
                    read += member.part.size == len(member.part.read())
        except InputError:
            refused += 1
    assert read > 300
    assert 0 < refused < 300
