"""Files that commands write: the suffix says the form, and nothing of others is lost."""

import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from p5mm.commands.output import table_target, write_table
from p5mm.data.tables import read_table
from p5mm.errors import InputError

COLUMNS = ("user_id", "item_id", "score", "rank")
TABLE = pa.table(
    {"user_id": ["a", "b"], "item_id": ["1", "2"], "score": [0.5, 0.25], "rank": [1, 1]}
)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_table_comes_back_in_every_form(tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    write_table(TABLE, table_target(str(path), COLUMNS, force=False))
    again = read_table(path)
    assert again.to_pylist() == TABLE.to_pylist()
    head = path.read_bytes()[:4]
    assert (head == b"PAR1") == (suffix == ".parquet")


def test_lists_in_csv_are_json(tmp_path):
    table = pa.table({"history": [["a", 'b"c'], None], "item_id": ["1", "2"]})
    write_table(table, tmp_path / "s.csv")
    cells = pyarrow.csv.read_csv(tmp_path / "s.csv")["history"].to_pylist()
    assert json.loads(cells[0]) == ["a", 'b"c']


@pytest.mark.parametrize("name", ["r.xlsx", "r", "r.txt", "r.parquet.bak"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="the suffix says the form"):
        table_target(str(tmp_path / name), COLUMNS, force=False)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_an_earlier_output_is_written_over_and_nothing_else(tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    write_table(TABLE, path)
    assert table_target(str(path), COLUMNS, force=False) == path
    write_table(TABLE.select(["user_id", "item_id"]), path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="replace it with --force"):
        table_target(str(path), COLUMNS, force=False)
    assert path.read_bytes() == before
    assert table_target(str(path), COLUMNS, force=True) == path


def test_somebodys_thesis_is_not_written_over(tmp_path):
    path = tmp_path / "thesis.parquet"
    path.write_text("years of work")
    with pytest.raises(InputError, match="no earlier output"):
        table_target(str(path), COLUMNS, force=False)
    pq.write_table(pa.table({"mine": [1]}), path)
    with pytest.raises(InputError, match="no earlier output"):
        table_target(str(path), COLUMNS, force=False)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("own.csv", b"user_id,item_id,score,rank\nann,tea,1,1\n"),  # ours have quotes
        ("odd.csv", b'"user_id"\0,"item_id","score","rank"\n'),
        ("own.jsonl", b"7\n"),
    ],
)
def test_a_table_of_somebody_else_stays(tmp_path, name, written):
    path = tmp_path / name
    path.write_bytes(written)
    for columns, only in ((COLUMNS, None), ((), ["user_id", "item_id", "score", "rank"])):
        with pytest.raises(InputError, match="no earlier output"):
            table_target(str(path), columns, force=False, only=only)
    assert path.read_bytes() == written
