"""Tables of means in any width."""

from hypothesis import given
from hypothesis import strategies as st

from p5mm.metrics.intervals import Interval
from p5mm.pages.table import interval_table

MEAN = {"a@1": Interval(0.5, 0.25, 0.75), "b@1": Interval(0.125, 0.0, 1.0)}


def test_a_wide_table_shows_all():
    assert interval_table({"p5mm": MEAN}, ["a@1", "b@1"], 80).splitlines() == [
        "model  a@1                      b@1",
        "-----  -----------------------  -----------------------",
        "p5mm   0.5000 [0.2500, 0.7500]  0.1250 [0.0000, 1.0000]",
    ]


def test_a_narrow_table_shows_the_first_and_names_the_rest():
    assert interval_table({"p5mm": MEAN}, ["a@1", "b@1"], 50).splitlines() == [
        "model  a@1",
        "-----  -----------------------",
        "p5mm   0.5000 [0.2500, 0.7500]",
        "not shown: b@1",
    ]


def test_a_very_narrow_table_drops_the_intervals_and_then_ends_of_names():
    assert interval_table({"a long name of a model": MEAN}, ["a@1", "b@1"], 20).splitlines() == [
        "model         a@1",
        "------------  ------",
        "a long name…  0.5000",
        "not shown: b@1",
    ]


def test_a_metric_that_a_row_lacks_is_no_column():
    rows = {"p5mm": MEAN, "other": {"b@1": MEAN["b@1"]}}
    assert interval_table(rows, ["a@1", "b@1"], 80).splitlines()[0].split() == ["model", "b@1"]


@given(
    st.dictionaries(st.text(max_size=40), st.just(MEAN), min_size=1, max_size=4),
    st.integers(14, 120),
)
def test_no_line_is_wider_and_every_row_is_one_line(rows, width):
    lines = interval_table(rows, ["a@1", "b@1"], width).split("\n")
    assert max(map(len, lines)) <= width
    assert lines[0].startswith(("model", "mo"))
    for line in lines[2 : 2 + len(rows)]:
        assert "0.5000" in line
    rest = "\n".join(lines[2 + len(rows) :])
    assert rest in ("", "not shown: b@1", "not shown:\nb@1")
    assert (rest == "") == ("b@1" in lines[0])


def test_a_name_of_a_stranger_is_one_line_that_no_terminal_obeys():
    lines = interval_table({"a\r\nb\x1b[2J\u202e": MEAN}, ["a@1"], 80).split("\n")
    assert lines[2] == "a b\ufffd[2J\ufffd  0.5000 [0.2500, 0.7500]"
    assert len(lines) == 3
