import sys

import pyarrow as pa
import pytest

from p5mm.data.columns import require_columns, with_known_names
from p5mm.data.interactions import Interactions
from p5mm.data.tables import read_table
from p5mm.errors import InputError, shown


@pytest.mark.parametrize(
    ("given", "names", "taken"),
    [
        (["movieId", "title"], ["item_id"], ["item_id", "title"]),
        (["Movie ID", "title"], ["item_id"], ["item_id", "title"]),
        (["reviewerID", "asin", "overall", "unixReviewTime", "reviewText"],
         ["user_id", "item_id", "rating", "timestamp", "review"],
         ["user_id", "item_id", "rating", "timestamp", "review"]),
        (["item_id", "asin"], ["item_id"], ["item_id", "asin"]),
        (["asin", "parent_asin"], ["item_id"], ["asin", "parent_asin"]),
        (["id", "item"], ["item_id"], ["id", "item"]),
        (["title", "genres"], ["item_id"], ["title", "genres"]),
        (["time", "date"], ["timestamp"], ["time", "date"]),
    ],
)  # fmt: skip
def test_one_known_alias_is_taken(given, names, taken, caplog):
    caplog.set_level("INFO")
    table = with_known_names(pa.table([["x"]] * len(given), names=given), "shop", names)
    assert table.column_names == taken
    said = [
        f"shop: the column '{g}' is taken as '{t}'"
        for g, t in zip(given, taken, strict=True)
        if g != t
    ]
    assert sorted(r.message for r in caplog.records if r.levelname == "INFO") == sorted(said)


def test_times_that_are_not_taken_are_said(caplog):
    log = pa.table({"user": ["u"], "item": ["i"], "time": [2], "date": [1]})
    assert Interactions.from_table(log).table["timestamp"].to_pylist() == [0]
    assert "there is no 'timestamp'; 'time' or 'date' is not taken for it" in caplog.text


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["movieId", "title"], "Rename 'movieId' to 'item_id'"),
        (["asin", "parent_asin", "title"], "Rename 'asin' or 'parent_asin' to 'item_id'"),
        (["id", "item"], "Rename 'item' or 'id' to 'item_id'"),
        (["title", "genres"], "Rename the right one to 'item_id'"),
        (["itme_id", "title"], "Rename 'itme_id' to 'item_id'"),
        (["a\x1b[2J"], "it has a\ufffd\\[2J\\. "),
        ([f"c{n}" for n in range(500)], r"c19, \.\.\. \(480 more\)\. Rename the right one"),
    ],
)
def test_what_may_be_meant_is_named(given, hint):
    with pytest.raises(InputError, match=hint):
        require_columns(pa.table([["x"]] * len(given), names=given), "shop", ["item_id"])


def test_ids_under_other_names_stay_as_written(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("userId,movieId,date\n1,007,2024-01-01\n2,1.0,2024-01-02\n")
    log = Interactions.read(path)
    assert log.item_ids == ["007", "1.0"]
    assert log.table["timestamp"].to_pylist() == [1704067200, 1704153600]
    assert read_table(path)["userId"].to_pylist() == [1, 2]
    path = tmp_path / "log.jsonl"
    path.write_text('{"user": "2024-01-01", "asin": "2024-01-02"}\n')
    assert Interactions.read(path).user_ids == ["2024-01-01"]


def test_shown_is_one_line_of_letters():
    for code in range(sys.maxunicode + 1):
        letter = shown(chr(code))
        assert letter.isprintable() or len(letter.encode()) > 1
        assert len(letter.splitlines()) == 1
        letter.encode()
    for odd in "\x1b\x9b\x00\x7f\u202e\u2066\u200f\ud800":
        assert shown(f"a{odd}b") == "a\ufffdb"
    assert shown("a\r\n\tb\u2028c") == "a b c"
    family = "\U0001f469\u200d\U0001f467 \u05e9\u05dc\u05d5\u05dd"
    assert shown(family) == family
