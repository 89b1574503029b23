"""Lines where there is no terminal, at their time and with what a person asks."""

import logging
import sys

import pytest

from p5mm import progress as progress_module
from p5mm.progress import Progress, progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand, and no terminal."""
    now = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    return now


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_line_every_thirty_seconds_and_a_last_one(clock, caplog):
    with caplog.at_level(logging.INFO), progress("score", 1000, "pair") as shown:
        for _ in range(10):
            clock[0] += 10
            shown.update(100)
    assert lines(caplog) == [
        "score: 300 of 1,000 pairs, 10.0 a second, 1 min 10 s left",
        "score: 600 of 1,000 pairs, 10.0 a second, 40.0 s left",
        "score: 900 of 1,000 pairs, 10.0 a second, 10.0 s left",
        "score: 1,000 of 1,000 pairs, 10.0 a second, 0.0 s left",
    ]


def test_short_work_is_silent(clock, caplog):
    with caplog.at_level(logging.INFO), progress("score", 2) as shown:
        clock[0] += 5
        shown.update(2)
    assert lines(caplog) == []


def test_what_has_a_note_is_told_at_once(clock, caplog):
    with caplog.at_level(logging.INFO), progress("train", 4, "epoch") as shown:
        clock[0] += 12
        shown.tick("epoch 1, step 3")
        shown.update(1, "ndcg@10 0.0812")
        clock[0] += 31
        shown.tick("epoch 2, step 9")
    assert lines(caplog) == [
        "train: 1 of 4 epochs, 12.0 s each, 36.0 s left; ndcg@10 0.0812",
        "train: 1 of 4 epochs, 43.0 s each, 2 min 9 s left; epoch 2, step 9",
    ]


def test_what_was_done_before_is_no_speed(clock, caplog):
    with caplog.at_level(logging.INFO), progress("train", 100, "epoch") as shown:
        shown.begin_at(90)
        clock[0] += 60
        shown.update(2, "again")
    assert lines(caplog) == ["train: 92 of 100 epochs, 30.0 s each, 4 min 0 s left; again"]


def test_nothing_done_yet_has_no_rate():
    assert Progress("x", 5).line(3.0) == "x: 0 of 5 items"


def test_on_a_terminal_there_is_a_bar_and_no_line(clock, monkeypatch, caplog, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with caplog.at_level(logging.INFO), progress("draw", 2, "picture") as shown:
        clock[0] += 60
        shown.update(1, "half")
    assert lines(caplog) == []
    assert "draw" in capsys.readouterr().err
