"""Long tables: windows depend on the number of a row alone, whatever holds the rows."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5mm.errors import InputError
from p5mm.serving import long_table as module
from p5mm.serving.long_table import LongTable


def table(start, stop):
    return pa.table({"user_id": [f"u{n}" for n in range(start, stop)]})


def written(folder, cuts, group=3):
    """Files that end at the cuts."""
    folder.mkdir(exist_ok=True)
    for number, (start, stop) in enumerate(zip([0, *cuts], cuts, strict=False)):
        pq.write_table(table(start, stop), folder / f"{number:02}.parquet", row_group_size=group)
    return folder


def ids(windows):
    return [window["user_id"].to_pylist() for window in windows]


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.integers(1, 7), st.integers(1, 5), st.integers(0, 20), st.integers(1, 9),
)  # fmt: skip
def test_windows_are_those_of_one_list(tmp_path_factory, sizes, size, group, first, read):
    folder = tmp_path_factory.mktemp("long")
    cuts = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    whole = [f"u{n}" for n in range(cuts[-1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "READ", read)
        long = LongTable.open(written(folder / "users", cuts, group))
        found = ids(long.windows(size, first))
    assert long.rows == len(whole)
    wanted = [whole[n : n + size] for n in range(first, len(whole), size)]
    assert found == (wanted or ([[]] if not whole else []))
    held = LongTable.of(table(0, cuts[-1]), "held")
    assert ids(held.windows(size, first)) == found


def test_one_file_and_other_forms(tmp_path):
    pq.write_table(table(0, 5), tmp_path / "users.parquet")
    table(0, 5).to_pandas().to_csv(tmp_path / "users.csv", index=False)
    for name in ("users.parquet", "users.csv"):
        assert ids(LongTable.open(tmp_path / name).windows(3)) == [["u0", "u1", "u2"], ["u3", "u4"]]


def test_a_column_of_another_type_is_told_before_a_row_is_read(tmp_path):
    folder = written(tmp_path / "users", [*range(1, 41)])
    pq.write_table(pa.table({"user_id": [1.5]}), folder / "39.parquet")
    with pytest.raises(InputError, match=r"39\.parquet: the column 'user_id' is of type double"):
        LongTable.open(folder)
    pq.write_table(pa.table({"who": ["u"]}), folder / "39.parquet")
    with pytest.raises(InputError, match=r"39.*other columns than the files"):
        LongTable.open(folder)
    (folder / "39.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"39\.parquet is not a whole Parquet file"):
        LongTable.open(folder)


def test_a_column_of_nulls_has_any_type(tmp_path):
    folder = tmp_path / "users"
    folder.mkdir()
    for number, history in enumerate([None, [], ["x"], None]):
        rows = pa.table({"user_id": [str(number)], "history": [history]})
        pq.write_table(rows, folder / f"{number}.parquet")
    windows = list(LongTable.open(folder).windows(2))
    assert [of["history"].to_pylist() for of in windows] == [[None, []], [["x"], None]]
    assert windows[0].schema == windows[1].schema  # parts of an output can be joined
    pq.write_table(pa.table({"user_id": ["b"], "history": ["[]"]}), folder / "4.parquet")
    with pytest.raises(InputError, match=r"4\.parquet: the column 'history' is of type string"):
        LongTable.open(folder)


def test_what_others_hide_is_left_out(tmp_path):
    folder = written(tmp_path / "users", [2])
    for name in ("_SUCCESS.parquet", ".tmp.parquet"):
        pq.write_table(table(5, 9), folder / name)
    assert LongTable.open(folder).rows == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="a folder without Parquet files"):
        LongTable.open(empty)


def test_the_digest_changes_with_the_rows(tmp_path):
    one = LongTable.open(written(tmp_path / "a", [2, 5]))
    same = LongTable.open(written(tmp_path / "b", [2, 5]))
    other = LongTable.open(written(tmp_path / "c", [2, 6]))
    assert one.digest == same.digest != other.digest
    assert LongTable.of(table(0, 2), "x").digest != LongTable.of(table(0, 3), "x").digest


def test_files_of_polars_and_of_pandas_belong_together(tmp_path):
    """Large lists are lists, empty ones of any type; an index without a name is no column."""
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    polars.DataFrame({"user_id": ["a"], "history": [[]]}).write_parquet(tmp_path / "0.parquet")
    polars.DataFrame({"user_id": ["b"], "history": [["x"]]}).write_parquet(tmp_path / "1.parquet")
    pq.write_table(pa.table({"user_id": ["c"], "history": [["y"]]}), tmp_path / "2.parquet")
    frame = pandas.DataFrame({"user_id": ["d"], "history": [["z"]]}, index=[7])
    frame.to_parquet(tmp_path / "3.parquet")
    (window,) = LongTable.open(tmp_path).windows(9)
    assert window["history"].to_pylist() == [[], ["x"], ["y"], ["z"]]
    assert window.column_names == ["user_id", "history"]
