"""A model's folder under faults and kills, read and written by several: one state or the other."""

import errno
import os
import random
import signal
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from p5mm import files
from p5mm.data.catalog import Catalog
from p5mm.serving.folder import read_model, write_model
from p5mm.serving.upkeep import update as update_module
from p5mm.serving.upkeep.addition import add_to_model
from p5mm.serving.upkeep.deletion import delete_from_model
from p5mm.serving.upkeep.rows import read_model_rows
from p5mm.serving.upkeep.update import update_model

CALLS = ("fsync", "link", "chmod", "mkdir", "rename")


def add(folder):
    new = pa.table({"item_id": ["new", "r0s1"], "title": ["ring0 step4", "ring3 step3"]})
    add_to_model(folder, Catalog.from_table(new))


def delete(folder):
    delete_from_model(folder, ["r0s2", "r0s3"], strict=False)


def update(folder):
    path = folder.parent / "new.parquet"
    rows = {"user_id": ["u0", "eve"], "item_id": ["r2s2", "r2s3"], "timestamp": [20, 3]}
    pq.write_table(pa.table(rows), path)
    update_model(folder, path)
    path.unlink()


CHANGES = {"add": add, "delete": delete, "update": update}


@pytest.fixture
def folder(toy, tmp_path):
    write_model(toy, tmp_path / "model")
    delete_from_model(tmp_path / "model", ["r3s3"])
    return tmp_path / "model"


def state(folder):
    """What is in a folder, whole; whatever the process is in the middle of."""
    rows = read_model_rows(folder)
    texts = Catalog.load(folder / "items.parquet").table["title"].to_pylist()
    return rows.item_ids, rows.since.deleted.tolist(), rows.since.later.table.to_pylist(), texts


def calling(monkeypatch, step, happens):
    """Make something happen at a call of the file system; counts the calls."""
    count = [0]

    def counted(real):
        def call(*arguments, **options):
            count[0] += 1
            if count[0] == step:
                happens()
            return real(*arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(files, "_exchanged_at_once", counted(files._exchanged_at_once))
    return count


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def calls_of(change, folder, monkeypatch):
    kept = folder.parent / "kept"
    files.shutil.copytree(folder, kept)
    with monkeypatch.context() as patch:
        count = calling(patch, None, full)
        change(folder)
    after = state(folder)
    return count[0], kept, after


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_at_any_call_leaves_the_old_state_or_the_new(folder, name, monkeypatch):
    before, change = state(folder), CHANGES[name]
    calls, kept, after = calls_of(change, folder, monkeypatch)
    assert before != after
    steps = range(1, calls + 1)
    if name == "add":
        steps = sorted(random.Random(0).sample(steps, 12))
    for step in steps:
        files.shutil.rmtree(folder)
        files.shutil.copytree(kept, folder)
        with monkeypatch.context() as patch:
            calling(patch, step, full)
            try:
                change(folder)
                assert state(folder) == after  # a link that could not be made is a copy
            except OSError:
                assert state(folder) in (before, after)
        (folder.parent / "new.parquet").unlink(missing_ok=True)
        assert sorted(path.name for path in folder.parent.iterdir()) == ["kept", "model"]
        change(folder)
        assert state(folder) == after
    read_model(folder)


@pytest.mark.parametrize("name", ["delete", "update"])
def test_a_kill_leaves_the_old_state_or_the_new(folder, name, monkeypatch):
    before, change = state(folder), CHANGES[name]
    calls, kept, after = calls_of(change, folder, monkeypatch)
    seen = []
    for step in [*sorted(random.Random(1).sample(range(1, calls), 8)), calls]:
        files.shutil.rmtree(folder)
        files.shutil.copytree(kept, folder)
        child = os.fork()
        if not child:
            calling(monkeypatch, step, killed)
            change(folder)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        seen.append(state(folder))
        assert seen[-1] in (before, after)
        change(folder)
        assert state(folder) == after
        assert sorted(path.name for path in folder.parent.iterdir()) == ["kept", "model"]
    assert before in seen


def test_writers_lose_nothing_of_each_other(folder, monkeypatch, caplog):
    """A model that changes while an update is worked out is looked at again."""
    real, deleted = update_module._joined, []

    def meanwhile(*arguments):
        if not deleted:
            deleted.append(delete_from_model(folder, ["r0s2"]))
        return real(*arguments)

    monkeypatch.setattr(update_module, "_joined", meanwhile)
    update(folder)
    assert "replaced by another writer in the meantime" in caplog.text
    rows = read_model_rows(folder)
    assert len(rows.since.later) == 2
    assert rows.since.deleted_of(rows.item_ids) == {"r0s2", "r3s3"}


def test_a_reader_sees_whole_models_during_rewrites(folder):
    seen, ends = [], threading.Event()

    def read():
        while not ends.is_set():
            seen.append(len(read_model_rows(folder).since.deleted))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for step in range(20):
            delete_from_model(folder, [f"r{step % 2}s{step // 2}"])
    finally:
        ends.set()
        reader.join(timeout=60)
    assert seen == sorted(seen)
    assert len(read_model_rows(folder).since.deleted) == 21


def test_a_folder_that_may_only_be_read_is_told(folder, monkeypatch):
    from p5mm.errors import InputError

    before = state(folder)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for change in CHANGES.values():
        with pytest.raises(InputError, match="its folder may only be read"):
            change(folder)
    assert state(folder) == before
