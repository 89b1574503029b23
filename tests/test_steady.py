"""Writers of one folder, one after the other, and readers beside them."""

import logging
import os
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from p5mm.errors import InputError
from p5mm.files import whole_folder
from p5mm.steady import alone, read_steadily, replaced_in_turn

COUNTER = """
import sys
from functools import partial
from pathlib import Path
from p5mm.files import whole_folder
from p5mm.steady import replaced_in_turn

folder = Path(sys.argv[1])

def read():
    return int((folder / "count").read_text()) if (folder / "count").exists() else 0

def write(count):
    with whole_folder(folder) as draft:
        (draft / "count").write_text(str(count))

for _ in range(int(sys.argv[2])):
    replaced_in_turn(folder, lambda: partial(write, read() + 1))
"""


def write(folder, text):
    with whole_folder(folder) as draft:
        (draft / "text").write_text(text)


def test_nothing_that_several_writers_add_is_lost(tmp_path):
    out = tmp_path / "new" / "out"
    writers = [
        subprocess.Popen([sys.executable, "-c", COUNTER, str(out), "25"], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=120)[1].decode() for process in writers]
    assert [process.returncode for process in writers] == [0, 0, 0], told
    assert (out / "count").read_text() == "75"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_work_on_what_was_replaced_is_done_again(tmp_path, caplog):
    out, seen = tmp_path / "out", []
    write(out, "old")

    def prepare():
        seen.append((out / "text").read_text())
        if len(seen) == 1:
            write(out, "another's")
        return partial(write, out, f"{seen[-1]}, and mine")

    replaced_in_turn(out, prepare)
    assert seen == ["old", "another's"]
    assert (out / "text").read_text() == "another's, and mine"
    assert "replaced by another writer" in caplog.text


def test_who_begins_where_nothing_is_sees_who_was_faster(tmp_path):
    out, seen = tmp_path / "out", []

    def prepare():
        seen.append(out.exists())
        if len(seen) == 1:
            write(out, "another's")
        return partial(write, out, "mine")

    replaced_in_turn(out, prepare)
    assert seen == [False, True]


def test_endless_replacing_ends(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="again and again by other writers"):
        replaced_in_turn(out, lambda: write(out, "new"))


def test_a_second_writer_waits_and_is_told(tmp_path, caplog):
    out, order = tmp_path / "out", []
    write(out, "old")

    def second():
        with alone(out):
            order.append((out / "text").read_text())

    with caplog.at_level(logging.WARNING), alone(out):
        thread = threading.Thread(target=second)
        thread.start()
        while "waiting until it has ended" not in caplog.text:
            time.sleep(0.01)
        order.append("first")
        write(out, "new")
    thread.join(timeout=30)
    assert order == ["first", "new"]


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    def interrupted():
        with alone(tmp_path / "a" / "b"):
            assert os.listdir(tmp_path / "a" / "b") == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_was_read_while_it_was_replaced_is_read_again(tmp_path):
    out, seen = tmp_path / "out", []
    write(out, "old")

    def read(folder):
        seen.append((folder / "text").read_text())
        if len(seen) == 1:
            write(out, "new")
        if len(seen) == 2:
            write(out, "newer")
            raise InputError("a mixture")
        return seen[-1]

    assert read_steadily(out, read) == "newer"
    assert seen == ["old", "new", "newer"]


def test_an_error_of_a_folder_that_stays_is_told_at_once(tmp_path):
    write(tmp_path / "out", "old")
    tries = []

    def read(folder):
        tries.append(folder)
        raise InputError("broken")

    for folder in (tmp_path / "out", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="broken"):
            read_steadily(folder, read)
    assert len(tries) == 2


def test_endless_replacing_ends_for_a_reader(tmp_path):
    with pytest.raises(InputError, match="again and again"):
        read_steadily(tmp_path / "out", lambda folder: write(folder, "new"))
