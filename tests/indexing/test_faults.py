"""An index under kills, a full disk, several writers and readers: the old state or the new one."""

import logging
import os
import random
import resource
import signal
import sys
import threading
import traceback

import pytest

from p5mm import files
from p5mm.indexing.build import build_index
from p5mm.indexing.deletion import compact_index, delete_items

OLD = {f"i{row}": f"n{row}" for row in range(80)}
NEW = {k: v for k, v in OLD.items() if k not in ("i1", "i2")} | {"i9": "other", "new": "m"}
LESS = {k: v for k, v in OLD.items() if k not in ("i5", "i6", "i7")}
CHANGES = {
    "update": (lambda shop: build_index(shop.catalog(NEW), shop.out, shop.both), NEW),
    "delete": (lambda shop: delete_items(shop.out, ["i5", "i6", "i7"], strict=False), LESS),
    "compact": (lambda shop: compact_index(shop.out), OLD),
}


@pytest.fixture
def old(shop):
    """An index of two segments with something deleted."""
    build_index(shop.catalog({k: v for k, v in OLD.items() if k != "i0"} | {"x": "y"}), shop.out,
                shop.both)  # fmt: skip
    build_index(shop.catalog(OLD), shop.out, shop.both)
    return shop


def forked(work):
    """The exit status of a child that does some work."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        logging.disable()
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def dying_at(step, names=("fsync", "link", "chmod", "mkdir", "open", "rename")):
    """Make the process kill itself at a call of the file system; None only counts the calls."""
    count = [0]

    def counted(real):
        def call(*arguments, **options):
            count[0] += 1
            if count[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in names:
        setattr(os, name, counted(getattr(os, name)))
    files._exchanged_at_once = counted(files._exchanged_at_once)
    files.shutil.rmtree = counted(files.shutil.rmtree)
    return count


def calls_of(change, shop):
    """How many calls of the file system a change makes, on a copy of the index."""
    read, write = os.pipe()

    def work():
        count = dying_at(None)
        change(shop)
        os.write(write, str(count[0]).encode())

    assert forked(work) == 0
    return int(os.read(read, 20))


@pytest.mark.parametrize("name", CHANGES)
def test_a_kill_at_any_point_leaves_the_old_state_or_the_new(old, name, tmp_path):
    """And the same command finishes it; nothing is left beside the index."""
    change, after = CHANGES[name]
    files.shutil.copytree(old.out, tmp_path / "kept")
    for _ in range(2):  # the first fills the feature store
        calls = calls_of(change, old)
        files.shutil.rmtree(old.out)
        files.shutil.copytree(tmp_path / "kept", old.out)
    states = {"old": 0, "new": 0}
    luck = random.Random(0)
    for step in [*sorted(luck.sample(range(1, calls), 12)), calls]:
        files.shutil.rmtree(old.out)
        files.shutil.copytree(tmp_path / "kept", old.out)

        def work(step=step):
            dying_at(step)
            change(old)

        assert os.WTERMSIG(forked(work)) == signal.SIGKILL
        there = old.items()
        assert there in (OLD, after)
        states["old" if there == OLD else "new"] += 1
        change(old)
        assert old.items() == after
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "index", "kept"]
    assert name == "compact" or min(states.values()) > 0  # points before and after it took place


def test_a_first_index_that_was_killed_is_made_by_the_same_command(shop, tmp_path):
    change = CHANGES["update"][0]
    for _ in range(2):
        calls = calls_of(change, shop)
        files.shutil.rmtree(shop.out)
    luck = random.Random(1)
    for step in sorted(luck.sample(range(1, calls), 8)):
        files.shutil.rmtree(shop.out, ignore_errors=True)

        def work(step=step):
            dying_at(step)
            change(shop)

        assert os.WTERMSIG(forked(work)) == signal.SIGKILL
        change(shop)
        assert shop.items() == NEW
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "index"]


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("room", [0, 100, 600])
def test_a_full_disk_leaves_the_old_version(old, name, room, tmp_path):
    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        CHANGES[name][0](old)

    assert forked(work) != 0
    assert old.items() == OLD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "index"]
    CHANGES[name][0](old)
    assert old.items() == CHANGES[name][1]


def test_two_writers_lose_nothing_of_each_other(old):
    def deleting(start):
        return lambda: [delete_items(old.out, [f"i{row}"]) for row in range(start, start + 20, 2)]

    children = []
    for start in (20, 21):
        child = os.fork()
        if not child:
            os._exit(forked(deleting(start)) != 0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert old.items() == {
        k: v for k, v in OLD.items() if k not in {f"i{n}" for n in range(20, 40)}
    }


def test_an_update_beside_a_deletion(old):
    """What is deleted while an update encodes stays deleted, if the catalog lacks it too."""
    real = build_index.__globals__["encoded"]
    without = {k: v for k, v in NEW.items() if k != "i50"}

    def meanwhile(*arguments):
        features = real(*arguments)
        if "i50" in old.items():
            delete_items(old.out, ["i50", "i51"])
        return features

    build_index.__globals__["encoded"] = meanwhile
    try:
        change = build_index(old.catalog(without), old.out, old.both)
    finally:
        build_index.__globals__["encoded"] = real
    assert old.items() == without
    assert "i51" in change.added  # the catalog has it, so it comes again
    assert "i50" not in change.removed  # it was gone already


def test_readers_see_one_state_during_twenty_rewrites(old):
    states = [{**OLD, "i3": f"version {number}"} for number in range(20)]
    seen, ends = [], threading.Event()

    def read():
        while not ends.is_set():
            seen.append(old.items())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number, state in enumerate(states):
            build_index(old.catalog(state), old.out, old.both)
            if number % 5 == 4:
                compact_index(old.out)
    finally:
        ends.set()
        reader.join(timeout=60)
    assert len(seen) > 3
    assert all(state in (OLD, *states) for state in seen)
    versions = [state["i3"] for state in seen]
    assert versions == sorted(versions, key=lambda name: int(name.split()[-1].strip("n")) if
                              name != "n3" else -1)  # fmt: skip
    assert old.items() == states[-1]
