import json
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5mm.data import text_tables
from p5mm.data.tables import read_table
from p5mm.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.text('[]{}"\\\\\nab', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"a'), inner, max_size=2),
    max_leaves=12,
)


def depth(value):
    parts = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, parts), default=0) if isinstance(value, (list, dict)) else 0


@given(
    st.integers(0, 40),
    st.lists(st.dictionaries(st.text("x[", max_size=2), VALUES, max_size=3), max_size=3),
)
def test_depth_is_that_of_json(block, rows):
    data = "\n".join(json.dumps(row) for row in rows).encode()
    deepest = max(map(depth, rows), default=0)
    text_tables._check_depth(data, "t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_tables, "_BLOCK", block)
        patch.setattr(text_tables, "DEPTH", deepest - 1)
        if deepest:
            with pytest.raises(InputError, match=f"objects {deepest} deep"):
                text_tables._check_depth(data, "t")


DEEP = b"[" * 20_000 + b"]" * 20_000


@pytest.mark.parametrize(
    "data",
    [
        b'{"item_id": "a", "x": ' + DEEP + b"}\n",
        b'{"item_id": "a", "x": ' + DEEP.replace(b"[", b"[\n") + b"}\n",
        b'{"item_id": "a", "x": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}\n",
        b'{"item_id": "a", "x": ' + b"[" * 20_000,
        b'{"item_id": "' + b"]" * 20_000 + b'", "x": ' + DEEP + b"}\n",
        b"]" * 20_000 + b'\n{"item_id": "a", "x": ' + DEEP + b"}\n",
        b'{"item_id": "open\r{"item_id": "a", "x": ' + DEEP + b"}\n",
        b'{"item_id": "open\n{"item_id": "a", "x": ' + DEEP + b"}\n",
        b'{"item_id": "\\\\", "x": ' + DEEP + b"}\n",
        b'{"item_id": "\\"", "x": ' + DEEP + b"}\n",
    ],
)
def test_jsonl_nested_deep_is_refused(tmp_path, data):
    path = tmp_path / "t.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"20,00\d deep; at most 100 are read"):
        read_table(path)


def test_brackets_in_texts_are_no_depth(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"item_id": "[" * 500 + '"' + "{" * 500}) + "\n")
    assert len(read_table(path)["item_id"][0].as_py()) == 1001


def test_histories_like_dates_in_jsonl_are_strings(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"user_id": "a", "history": ["2024-01-01"]}\n{"user_id": "b"}\n')
    assert read_table(path)["history"].to_pylist() == [["2024-01-01"], None]
    path.write_text('{"user_id": "2024-01-01", "history": [1, 2]}\n')
    assert read_table(path).to_pylist() == [{"user_id": "2024-01-01", "history": [1, 2]}]


@pytest.mark.parametrize("ends", [b"\r", b"\n", b"\r\n"])
def test_line_ends_of_every_system(tmp_path, ends):
    path = tmp_path / "t.csv"
    path.write_bytes(ends.join([b"item_id,title", b"1,tea", b"2,cup", b""]))
    assert read_table(path).to_pylist() == [
        {"item_id": "1", "title": "tea"},
        {"item_id": "2", "title": "cup"},
    ]
    path.write_bytes(ends.join([b"item_id,title", b"1,tea", b"2,caf\xe9", b""]))
    with pytest.raises(InputError, match="line 3"):
        read_table(path)


def test_headers_that_are_long_or_in_quotes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"item_id," + b"x" * 200_000 + b"\n007,b\n")
    assert read_table(path)["item_id"].to_pylist() == ["007"]
    path.write_bytes(b'item_id,"a\nb, c"\n007,1\n')
    assert read_table(path).to_pylist() == [{"item_id": "007", "a\nb, c": 1}]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_too_many_columns_are_refused_at_once(tmp_path, name):
    names = ["item_id", *(f"c{n}" for n in range(20_000))]
    if name == "t.csv":
        (tmp_path / name).write_text(f"{','.join(names)}\n{','.join('1' for _ in names)}\n")
    elif name == "t.jsonl":
        (tmp_path / name).write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    else:
        pa.parquet.write_table(pa.table([["1"]] * len(names), names=names), tmp_path / name)
    start = time.perf_counter()
    with pytest.raises(InputError, match="20,001 columns; at most 10,000 are read"):
        read_table(tmp_path / name)
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"item_id;title\na;b\n", "has ';' between its columns"),
        ("t.csv", b'item_id,title\na,"b' + b"\nc,d" * 12_000_000, "a quote that stays open"),
        ("t.jsonl", b'{"item_id": "' + b"x" * (40 << 20) + b'"}\n', "longer than 16 MiB"),
        ("t.tsv", b"item_id\ta\n1\t2\n\n1\t2\n3\n", "row 3 has 1 cells"),
        ("t.csv", b'item_id,a\n1,"x\ny"\n3\n', "row 2 has 1 cells"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)
