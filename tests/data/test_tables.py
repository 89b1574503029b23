import csv
import gzip
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.tables import arrow_table, id_column, read_table, require_columns
from p5mm.errors import InputError

ROWS = [{"item_id": "007", "title": "tea", "price": 1.5}, {"item_id": "b", "title": "", "price": 2}]


def test_all_forms_agree(tmp_path):
    texts = {
        "t.csv": "item_id,title,price\n007,tea,1.5\nb,,2\n",
        "t.tsv": "item_id\ttitle\tprice\n007\ttea\t1.5\nb\t\t2\n",
        "t.jsonl": '{"item_id":"007","title":"tea","price":1.5}\n{"item_id":"b","price":2}\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        (tmp_path / f"bare_{name[2:]}").write_text(text)
    wanted = [("007", "tea", 1.5), ("b", None, 2.0)]
    pq.write_table(
        pa.table({"item_id": ["007", "b"], "title": ["tea", None], "price": [1.5, 2]}),
        tmp_path / "t.parquet",
    )
    for path in tmp_path.iterdir():
        table = read_table(path).select(["item_id", "title", "price"])
        assert [tuple(row.values()) for row in table.to_pylist()] == wanted, path


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1)
)
def test_odd_ids_come_back_from_csv_as_written(tmp_path, ids):
    path = tmp_path / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["item_id", "x"], *([item, "1"] for item in ids)])
    assert id_column(read_table(path), "catalog", "item_id").to_pylist() == ids


def test_a_pipe_is_read_once_as_csv():
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(b"a,b\n1,2\n")
    table = read_table(f"/dev/fd/{reading}")
    os.close(reading)
    with pytest.raises(InputError, match="no column 'item_id'; it has a, b"):
        require_columns(table, "catalog", ["item_id"])


def test_a_fifo_that_a_thread_feeds(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    feeder = threading.Thread(target=path.write_bytes, args=(b'{"item_id": "x"}\n',))
    feeder.start()
    assert read_table(path).to_pylist() == [{"item_id": "x"}]
    feeder.join()


def test_the_nearest_column_is_named():
    with pytest.raises(InputError, match="Rename 'itemid' to 'item_id'"):
        require_columns(pa.table({"itemid": ["x"], "b": [1]}), "catalog", ["item_id"])


def test_a_number_column_is_one_in_every_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("item_id,a,b\n1,1,1\n2,x,2.5\n")
    assert [str(kind) for kind in read_table(path).schema.types] == ["string", "string", "double"]


def test_tsv_quotes_are_letters(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('item_id\ttitle\n1\t"Heat" burns\n2\tan "open\n')
    assert read_table(path)["title"].to_pylist() == ['"Heat" burns', 'an "open']


def test_bom_and_quoted_line_ends(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfitem_id,title\r\n1,"a\nb, c"\r\n')
    assert read_table(path).to_pylist() == [{"item_id": "1", "title": "a\nb, c"}]


def test_ids_like_dates_or_numbers_in_jsonl(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"item_id": "2024-01-01", "n": 1}\n{"item_id": "2024-01-02", "n": 2}\n')
    assert read_table(path)["item_id"].to_pylist() == ["2024-01-01", "2024-01-02"]
    path.write_text('{"item_id": 7}\n{"item_id": 8}\n')
    assert id_column(read_table(path), "catalog", "item_id").to_pylist() == ["7", "8"]


def test_dictionary_columns_of_parquet_are_strings(tmp_path):
    table = pa.table({"item_id": pa.array(["x", "y"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").schema.field("item_id").type == pa.string()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b" \n\n", "is empty"),
        ("t.csv", b"item_id,a\n1,2\n3,4,5\n", r"row 2 has 3 cells, 2 are expected: '3,4,5'"),
        ("t.csv", b"item_id,a\n1,2\n3\n", "row 2 has 1 cells"),
        ("t.tsv", b"item_id\ta\n1\t2\t3\n", "row 1 has 3 .* take tabs"),
        ("t.csv", b"item_id,a\n1,caf\xe9\n", r"not UTF-8 \(line 2\).*iconv"),
        ("t.csv", "item_id,a\n1,x\n".encode("utf-16"), "UTF-16"),
        ("t.csv", b"item_id,a,a\n1,2,3\n", "column 'a' twice"),
        ("t.jsonl", b'{"item_id": "a"}\n{"item_id": nul}\n', "line 2 is not JSON"),
        ("t.jsonl", b'{"item_id": "a"}\n3\n', "line 2 is no object"),
        ("t.json", b'[{"item_id": "a"}]', "one JSON array"),
        ("t.parquet", b"PAR1 and no more", "not a whole Parquet"),
        ("t.csv.gz", gzip.compress(b"item_id\n" * 99)[:-9], "cannot read"),
        ("t.bin", b"\x00\x01\x02", "in no form that is read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="there is no file"):
        read_table(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", None, ""], "rows 2, 3 have no item_id"),
        ([1.5, 2.0], "type double"),
        ([None, None], "rows 1, 2"),
    ],
)
def test_ids_that_cannot_be_used(values, message):
    with pytest.raises(InputError, match=message):
        id_column(pa.table({"item_id": values}), "catalog", "item_id")


@pytest.mark.parametrize("kind", ["pandas", "polars", "dictionary", "batch", "to_arrow"])
def test_frames_of_every_kind_are_tables(kind):
    columns = {"item_id": ["a", "b", None], "history": [["x"], None, []], "price": [1.5, None, 2.0]}
    if kind == "pandas":
        frame = pytest.importorskip("pandas").DataFrame(columns, index=[5, 6, 7])
        frame["colour"] = frame["item_id"].astype("category")
    elif kind == "polars":
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame(columns)
        frame = frame.with_columns(colour=polars.col("item_id").cast(polars.Categorical))
    elif kind == "batch":
        frame = pa.RecordBatch.from_pydict(columns | {"colour": columns["item_id"]})
    elif kind == "to_arrow":
        table = pa.table(columns | {"colour": columns["item_id"]})
        frame = type("Frame", (), {"to_arrow": lambda self: table})()
    else:
        frame = columns | {"colour": columns["item_id"]}
    table = arrow_table(frame)
    assert table.to_pydict() == columns | {"colour": columns["item_id"]}
    assert table.schema.types[:3] == [pa.string(), pa.list_(pa.string()), pa.float64()]
    assert table.schema.field("colour").type == pa.string()


def test_catalogs_and_logs_of_frames():
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    items = {"item_id": ["a", "b"], "title": ["tea", None]}
    events = {"user_id": ["u", "u"], "item_id": ["a", "b"], "timestamp": [2, 1]}
    for frame in (polars.DataFrame, pandas.DataFrame):
        assert Catalog.from_table(frame(items)).titles == ["tea", "b"]
        assert Interactions.from_table(frame(events)).item_ids == ["b", "a"]
    named = pandas.DataFrame(items).set_index("item_id")
    assert Catalog.from_table(named).item_ids == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (pa.array([["a", None]], pa.large_list(pa.large_string())), pa.list_(pa.string())),
        (pa.array([["a"]], pa.list_(pa.string_view())), pa.list_(pa.string())),
        (pa.array([["a"], None, []], pa.list_view(pa.string())), pa.list_(pa.string())),
        (pa.array([b"a"], pa.binary_view()), pa.binary()),
        (pa.array([[1.0]], pa.list_(pa.float32())), pa.list_(pa.float32())),
        (pa.array([1]).dictionary_encode(), pa.int64()),
        (pa.RunEndEncodedArray.from_arrays([1], ["a"]), pa.string()),
    ],
)
def test_variants_become_plain_types(value, plain):
    table = arrow_table(pa.table({"x": value}))
    assert table.schema.field("x").type == plain
    assert table["x"].to_pylist() == value.to_pylist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("catalog.csv", "cannot be read from str .*a file is read by"),
        (None, "cannot be read from NoneType"),
        ({"item_id": [1, "a"]}, "cannot be read from dict .*each column of one type"),
        (pa.table([["a"], ["b"]], names=["x\x1b", "x\x1b"]), "column 'x\ufffd' twice"),
    ],
)
def test_what_is_no_table(given, message):
    with pytest.raises(InputError, match=message):
        arrow_table(given)


def test_bad_utf8_inside_parquet_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"item_id": ["a"], "name": ["thing i3"]}), path, compression="none")
    path.write_bytes(path.read_bytes().replace(b"thing i3", b"thi\xff\xfe i3"))
    with pytest.raises(InputError, match=r"'name' .* holds bytes that are not UTF-8"):
        read_table(path)
    with pytest.raises(InputError, match=r"'name' .* holds bytes that are not UTF-8"):
        Catalog.from_table(pq.read_table(path))
