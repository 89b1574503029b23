import gzip
import json

import pytest

from p5mm.data.readers import READERS, detect
from p5mm.data.readers.sequences import read_sequence_file
from p5mm.data.readers.source import Source
from p5mm.errors import InputError


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return Source(folder)


def read(source):
    return READERS[detect(source)](source)


def rows(log):
    return [tuple(row.values()) for row in log.table.to_pylist()]


GENRES = "unknown|0\nAction|1\nComedy|2\n\n"
U_ITEM = "7|Caf\xe9 (1995)|01-Jan-1995||http://x/M/title?a::b|0|1|1\n9|unknown||||1|0|1\r\n"


def test_movielens_100k_in_latin_1(tmp_path):
    item = U_ITEM.encode("latin-1")
    source = write(tmp_path, u__data="1\t7\t3\t20\n1\t9\t4\t10\n", u__item=item, u__genre=GENRES)
    assert detect(source) == "movielens"
    catalog, log = read(source)
    assert catalog.raw("text") == ["Café (1995). Action, Comedy", "unknown. Comedy"]
    assert rows(log) == [("1", "9", 10, 4.0), ("1", "7", 20, 3.0)]


def test_movielens_takes_items_tsv_and_posters_where_they_are(tmp_path):
    source = write(
        tmp_path,
        u__data="1\t7\t3\t20\n",
        u__item="broken",
        items__tsv='item_id\ttitle\tgenres\toverview\n7\tHeat\tAction|Crime\tA "heist\n',
    )
    write(tmp_path / "posters", **{"7__jpg": b"x"})
    catalog, _ = read(source)
    assert catalog.raw("text") == ['Heat. Action, Crime. A "heist']
    assert catalog.picture("7") == tmp_path / "posters" / "7.jpg"


def test_movielens_1m_and_latest(tmp_path):
    old = write(
        tmp_path / "1m",
        ratings__dat="1::7::3::20\n",
        movies__dat="7::Se7en: a :: film (1995)::Crime|Thriller\n".encode("latin-1"),
    )
    latest = write(
        tmp_path / "latest",
        ratings__csv="userId,movieId,rating,timestamp\n1,7,3.5,20\n",
        movies__csv='movieId,title,genres\n7,"Se7en: a :: film (1995)",Crime|Thriller\n',
    )
    for source, rating in ((old, 3.0), (latest, 3.5)):
        catalog, log = read(source)
        assert detect(source) == "movielens"
        assert catalog.raw("text") == ["Se7en: a :: film (1995). Crime, Thriller"]
        assert rows(log) == [("1", "7", 20, rating)]


def test_genres_in_another_encoding_are_read(tmp_path):
    genres = b"unknown|0\nCrim\xe9|1\n"
    source = write(tmp_path, u__data="1\t7\t3\t20\n", u__item="7|Heat||||0|1\n", u__genre=genres)
    assert read(source)[0].raw("text") == ["Heat. Crim\ufffd"]


def test_a_deep_id_map_is_named(tmp_path):
    source = write(tmp_path, datamaps__json="[" * 100_000, sequential_data__txt="1 1 2\n")
    with pytest.raises(InputError, match=r"datamaps\.json is not JSON"):
        read(source)


def test_broken_movielens_lines_are_named(tmp_path):
    source = write(tmp_path, u__data="1\t7\t3\t20\n", u__item="7|Heat|x\n", u__genre=GENRES)
    with pytest.raises(InputError, match=r"u\.item: line 1 has 3 cells"):
        read(source)
    write(tmp_path, u__data="1\t7\t3\n", u__item=U_ITEM.encode("latin-1"))
    with pytest.raises(InputError, match="4 are expected"):
        read(source)


def test_sequences_with_and_without_a_catalog(tmp_path):
    source = write(tmp_path, sequential__txt="1 20 3 10\r\n2 3\n\n4\n")
    assert detect(source) == "sequences"
    catalog, log = read(source)
    assert catalog.item_ids == ["10", "20", "3"]  # not in order of appearance
    assert catalog.fields == ()
    assert rows(log) == [("1", "20", 0), ("1", "3", 1), ("1", "10", 2), ("2", "3", 0)]
    write(tmp_path, items__tsv="item_id\ttitle\n3\tc\n10\ta\n20\tb\n")
    assert read(source)[0].titles == ["c", "a", "b"]


def test_sequence_files_that_cannot_be_used(tmp_path):
    source = write(tmp_path, Beauty__txt="1 2 3\n", Toys__txt="1 2\n", Beauty_sample__txt="1 2\n")
    with pytest.raises(InputError, match=r"several sequence files .* Beauty\.txt, Toys\.txt; name"):
        read(source)
    write(tmp_path, Toys__txt="1 2\n1 3\n")
    with pytest.raises(InputError, match="user '1' is in lines 1 and 2"):
        read_sequence_file(tmp_path / "Toys.txt")
    write(tmp_path, Toys__txt="user_id,item_id\n")
    with pytest.raises(InputError, match="no line of the form"):
        read_sequence_file(tmp_path / "Toys.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no sequence file is in"):
        READERS["sequences"](Source(tmp_path / "empty"))


META = (
    "{'asin': 'B1', 'title': \"Nail's \\u00e9\", 'categories': [['Beauty', 'Nails'], ['Beauty']]}\n"
    "{'asin': 'B9', 'title': 'of no user'}\n"
    "{'asin': 'B2', 'title': __import__('os').mkdir('OWNED')}\n"
)


def test_p5_folder_with_raw_ids_and_nothing_evaluated(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    maps = {"user2id": {"ANN": "1"}, "item2id": {"B1": "1", "B2": "2"}}
    source = write(
        tmp_path,
        sequential_data__txt="1 2 1\n",
        datamaps__json=json.dumps(maps),
        meta__json__gz=gzip.compress(META.encode()),
    )
    assert detect(source) == "p5"
    catalog, log = read(source)
    assert rows(log) == [("ANN", "B2", 0), ("ANN", "B1", 1)]
    assert catalog.item_ids == ["B1", "B2"]
    assert catalog.raw("text") == ["Nail's é. Beauty, Nails", None]
    assert catalog.titles == ["Nail's é", "B2"]
    assert not (tmp_path / "OWNED").exists()
    assert "1 products cannot be parsed" in caplog.text


def test_p5_folders_that_are_not_whole(tmp_path):
    source = write(tmp_path, sequential_data__txt="1 2\n", datamaps__json="{")
    with pytest.raises(InputError, match="is not JSON"):
        read(source)
    write(tmp_path, datamaps__json='{"user2id": {}}')
    with pytest.raises(InputError, match="neither id2item nor item2id; it has user2id"):
        read(source)
    write(tmp_path, datamaps__json='{"user2id": {}, "item2id": {"B": 2}}', meta__json__gz="no gzip")
    with pytest.raises(InputError, match=r"cannot read .*meta\.json\.gz"):
        read(source)


@pytest.mark.parametrize(
    "names", [("catalog__csv", "interactions__csv"), ("items__csv", "ratings__csv")]
)
def test_tables_by_name(tmp_path, names):
    source = write(
        tmp_path,
        **{
            names[0]: "item_id,title\n01,a\n",
            names[1]: "user_id,item_id,timestamp\nu,01,2024-01-01\n",
        },
    )
    write(tmp_path / "images", **{"01__png": b"x"})
    assert detect(source) == "tables"
    catalog, log = read(source)
    assert catalog.picture("01") == tmp_path / "images" / "01.png"
    assert rows(log) == [("u", "01", 1704067200.0)]


def test_missing_tables_are_named(tmp_path):
    source = write(tmp_path, interactions__csv="user_id,item_id\nu,1\n")
    with pytest.raises(
        InputError, match=r"no catalog is in .*catalog\.\* or items\.\*.*catalog: FILE"
    ):
        read(source)
