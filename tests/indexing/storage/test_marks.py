"""A change of a file is seen, whatever its times say; what has not changed is not read."""

import os
import time

import numpy as np
import pytest

from p5mm.indexing.storage import marks as marks_module
from p5mm.indexing.storage.marks import Marks, marks_of


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(b"content of " + path.name.encode())
    return paths


@pytest.fixture
def reads(monkeypatch):
    """How many values were read, call by call."""
    counts, real = [], marks_module.content_keys

    def counted(raws):
        counts.append(len(raws))
        return real(raws)

    monkeypatch.setattr(marks_module, "content_keys", counted)
    return counts


@pytest.fixture
def clock(monkeypatch):
    """Sets the clock, in seconds from now."""
    real = time.time_ns

    def put(seconds):
        monkeypatch.setattr(time, "time_ns", lambda: real() + int(seconds * 1e9))

    return put


def test_what_has_settled_is_not_read_again(files, reads, clock):
    clock(10)
    first = marks_of(files, Marks.nothing(3))
    again = marks_of(files, first)
    assert reads == [3, 0]
    assert not again.differ(first).any()
    files[1].write_bytes(b"Content of b")
    assert marks_of(files, first).differ(first).tolist() == [False, True, False]
    assert reads == [3, 0, 1]


def test_what_is_new_is_read_until_it_has_settled(files, reads, clock):
    first = marks_of(files, Marks.nothing(3))
    assert not first.stamps.any()
    second = marks_of(files, first)
    clock(10)
    marks_of(files, marks_of(files, second))
    assert reads == [3, 3, 3, 0]


@pytest.mark.parametrize("seconds", [-1e6, 0, 1e6])
def test_a_clock_set_anywhere_hides_no_change(files, clock, seconds):
    """A file of the same size gets the very times that the old one had, as far as one can."""
    clock(10)
    first = marks_of(files, Marks.nothing(3))
    was = os.stat(files[0])
    files[0].write_bytes(b"CONTENT of a")
    os.utime(files[0], ns=(was.st_atime_ns, was.st_mtime_ns))
    assert os.stat(files[0]).st_mtime_ns == was.st_mtime_ns
    clock(seconds)
    assert marks_of(files, first).differ(first).tolist() == [True, False, False]


def test_a_clock_behind_the_files_believes_no_stamp(files, clock):
    clock(-1000)
    assert not marks_of(files, Marks.nothing(3)).stamps.any()


def test_bytes_texts_vectors_and_nothing(tmp_path):
    vector = np.arange(3, dtype=np.float32)
    raws = [b"x", vector, None, tmp_path / "missing", tmp_path]
    made = marks_of(raws, Marks.nothing(5))
    assert made.keys.any(axis=1).tolist() == [True, True, False, False, False]
    other = marks_of([b"y", vector + 1, None, tmp_path / "missing", tmp_path], made)
    assert other.differ(made).tolist() == [True, True, False, False, False]
    assert not marks_of(raws, other).differ(made).any()


def test_rows_that_were_not_there_say_nothing():
    marks = Marks(np.ones((2, 16), np.uint8), np.ones((2, 3), np.int64))
    taken = marks.take(np.array([1, -1]))
    assert taken.keys.any(axis=1).tolist() == [True, False]
    assert len(Marks.nothing(0).take(np.array([-1, -1])).keys) == 2
