"""Whole or not at all: errors, kills, several writers, readers in between."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p5mm import files
from p5mm.errors import InputError
from p5mm.files import holds_only, refuse_other_output, whole_file, whole_folder, writing
from p5mm.steady import read_steadily

# Saves versions of a folder of three files over one another, for as long as it lives.
WRITER = """
import itertools, sys
from p5mm import files
if sys.argv[3] == "in turn":
    files._exchanged_at_once = lambda draft, target: False
many = itertools.count() if sys.argv[2] == "ever" else range(int(sys.argv[2]))
for version in many:
    with files.whole_folder(sys.argv[1]) as draft:
        (draft / "sub").mkdir()
        for name in ("a", "b", "sub/c"):
            (draft / name).write_text(f"{sys.argv[4]} {version} " * 2000)
"""
WAYS = ["at once", "in turn"]


def write(folder, text):
    with whole_folder(folder) as draft:
        (draft / "sub").mkdir()
        for name in ("a", "b", "sub/c"):
            (draft / name).write_text(text)


def version_of(folder):
    """The one version that all files of a folder have."""
    texts = {(folder / name).read_text() for name in ("a", "b", "sub/c")}
    assert len(texts) == 1
    return texts.pop()


def writer(target, count, way="at once", name="w"):
    command = [sys.executable, "-c", WRITER, str(target), str(count), way, name]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def beside(target):
    return [path.name for path in target.parent.iterdir() if path != target]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Both ways to put a folder in the place of another."""
    if request.param == "in turn":
        monkeypatch.setattr(files, "_exchanged_at_once", lambda draft, target: False)
    return request.param


def test_a_folder_is_replaced_whole(tmp_path, way):
    out = tmp_path / "out"
    for text in ("old", "new"):
        write(out, text)
        assert version_of(out) == text
    assert beside(out) == []


def test_an_error_leaves_what_was_there(tmp_path, way):
    out, file = tmp_path / "out", tmp_path / "file"
    write(out, "old")
    file.write_text("old")

    def interrupted(whole, target, name):
        with whole(target) as draft:
            (draft / name).write_text("new")
            raise KeyboardInterrupt

    for arguments in ((whole_folder, out, "a"), (whole_file, file, "")):
        with pytest.raises(KeyboardInterrupt):
            interrupted(*arguments)
    assert version_of(out) == file.read_text() == "old"
    assert beside(out) == ["file"]


def test_nothing_is_left_of_a_first_write_that_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "x" / "y" / "out"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_all_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    synced, real = [], os.fsync

    def note(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write(tmp_path / "out", "text")
    names = [os.path.relpath(path, tmp_path) for path in synced]
    draft = names[-2]
    assert draft.startswith(".out.draft-")
    wanted = {f"{draft}/a", f"{draft}/b", f"{draft}/sub/c", f"{draft}/sub", draft, "."}
    assert set(names) == wanted
    assert names[-1] == "."


@pytest.mark.parametrize(("mask", "file", "folder"), [
    (0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775),
])  # fmt: skip
def test_rights_are_those_that_the_umask_leaves(tmp_path, mask, file, folder):
    before = os.umask(mask)
    try:
        with whole_folder(tmp_path / "out") as draft:
            (draft / "sub").mkdir()
            os.close(os.open(draft / "sub" / "private", os.O_CREAT | os.O_WRONLY, 0o600))
        with whole_file(tmp_path / "file") as draft:
            os.close(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path).as_posix(): p.stat().st_mode & 0o777
             for p in tmp_path.rglob("*")}  # fmt: skip
    assert modes == {"out": folder, "out/sub": folder, "out/sub/private": file, "file": file}


@pytest.mark.parametrize("way", WAYS)
def test_kills_leave_one_version_and_the_next_save_clears_up(tmp_path, way):
    out, luck = tmp_path / "out", random.Random(0)
    write(out, "w 0 " * 2000)
    drafts = 0
    for _ in range(15):
        process = writer(out, "ever", way)
        time.sleep(0.1 + luck.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        drafts += len(beside(out))
        if way == "at once":
            assert version_of(out).startswith("w ")
    write(out, "last")
    assert version_of(out) == "last"
    assert beside(out) == []


def test_a_kill_between_two_renames_is_made_good(tmp_path):
    out = tmp_path / "out"
    write(out, "old")
    killed = subprocess.run(
        [sys.executable, "-c", f"""
import os, signal
from pathlib import Path
from p5mm import files
files._exchanged_at_once = lambda draft, target: False
rename = Path.rename
def dying(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = dying
with files.whole_folder({str(out)!r}) as draft:
    (draft / "a").write_text("new")
"""],
        check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    with pytest.raises(KeyboardInterrupt), whole_folder(out):
        raise KeyboardInterrupt
    assert version_of(out) == "old"
    assert beside(out) == []


@pytest.mark.parametrize("way", WAYS)
def test_writers_of_one_folder_do_not_hinder_each_other(tmp_path, way):
    out = tmp_path / "out"
    writers = [writer(out, 60, way, name) for name in "xyz"]
    told = [process.communicate(timeout=120)[1] for process in writers]
    assert told == ["", "", ""]
    assert version_of(out)[0] in "xyz"
    write(out, "last")
    assert beside(out) == []


def test_a_living_writer_keeps_its_draft(tmp_path):
    out = tmp_path / "out"
    with whole_folder(out) as draft:
        write(out, "inner")
        (draft / "only").write_text("outer")
    assert [path.name for path in out.iterdir()] == ["only"]
    assert beside(out) == []


def test_a_dead_file_draft_is_cleared_up(tmp_path):
    dead = tmp_path / ".t.csv.draft-0123abcd"
    dead.mkdir()
    (dead / "t.csv").write_text("half")
    with whole_file(tmp_path / "t.csv") as draft:
        assert draft.name == "t.csv"  # libraries look at the suffix
        draft.write_text("whole")
    assert beside(tmp_path / "t.csv") == []


@pytest.mark.parametrize("name", ["a[1]*?", "ü ", "-x", "n" * 255, "(.draft-"])
def test_any_name_can_be_written_twice(tmp_path, name):
    for text in ("old", "new"):
        with whole_file(tmp_path / name) as draft:
            draft.write_text(text)
    assert (tmp_path / name).read_text() == "new"
    assert beside(tmp_path / name) == []


def test_what_only_looks_like_a_draft_is_kept(tmp_path):
    names = [".out.draft-notes", ".out.draft-0123abcde", ".a1.draft-0123abcd"]
    for name in names:
        (tmp_path / name).write_text("mine")
    write(tmp_path / "out", "x")
    with whole_file(tmp_path / "a?") as draft:
        draft.write_text("x")
    assert sorted(beside(tmp_path / "out")) == sorted([*names, "a?"])


def test_a_link_is_written_through(tmp_path):
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert version_of(tmp_path / "real") == "new"


def test_a_file_is_no_folder_and_a_device_no_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"), whole_folder(tmp_path / "file"):
        pass
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(InputError, match="no plain file"), whole_file(path):
            pass
    assert (tmp_path / "file").read_text() == "mine"
    assert Path("/dev/null").is_char_device()
    assert beside(tmp_path / "file") == []


def test_a_folder_that_may_only_be_read(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    write(tmp_path / "out", "old")
    monkeypatch.setattr(os, "mkdir", refuse)
    for target, whole in ((tmp_path / "out", whole_folder), (tmp_path / "t.csv", whole_file)):
        with pytest.raises(PermissionError) as told, whole(target):
            pass
        assert told.value.filename == str(target)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError) as told, whole_file(tmp_path / "no" / "t.csv"):
        pass
    assert told.value.filename == str(tmp_path / "no" / "t.csv")


LIMITED = """
import resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from p5mm.arrays import write_arrays
from p5mm.files import whole_file, whole_folder
from p5mm.model.tokenizer import save_tokenizer, train_tokenizer
from p5mm.retrieval.index import VectorIndex
vectors = np.random.default_rng(0).normal(size=(2000, 20)).astype(np.float32)
index = VectorIndex.build([str(row) for row in range(2000)], vectors)
tokenizer = train_tokenizer(["a"])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
ways = {
    "text": lambda draft: (draft / "x").write_text("x" * 9000),
    "arrays": lambda draft: write_arrays(draft / "x", {"x": vectors}),
    "faiss": lambda draft: index.save(draft),
    "table": lambda draft: pq.write_table(pa.table({"x": vectors.ravel()}), draft / "x"),
    "tokenizer": lambda draft: save_tokenizer(tokenizer, draft / "x"),
}
for name, write in ways.items():
    try:
        with whole_folder(sys.argv[1]) as draft:
            write(draft)
    except OSError as error:
        print(name, error)
for name in ("text", "arrays"):
    try:
        with whole_file(sys.argv[1] + ".bin") as draft:
            ways[name](draft.parent) if name == "text" else write_arrays(draft, {"x": vectors})
    except OSError as error:
        print("file", error)
"""


def test_a_full_disk_is_an_os_error_that_names_the_file(tmp_path):
    out = tmp_path / "out"
    write(out, "old")
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(out)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    ways = ["text", "arrays", "faiss", "table", "tokenizer", "file", "file"]
    assert [line.split()[0] for line in told] == ways
    assert told[1] == f"arrays [Errno 27] File too large: '{out}/x'"
    assert told[-2:] == [f"file [Errno 27] File too large: '{out}.bin'"] * 2
    for line in told:
        assert str(out) in line
        assert ".draft-" not in line
    assert version_of(out) == "old"
    assert beside(out) == []


def test_own_errors_of_a_library_become_os_errors():
    class OwnError(Exception):
        pass

    told = pytest.raises(OSError, match=r"x\.bin could not be written: no room")
    with told, writing("x.bin", OwnError):
        raise OwnError("no room")
    with pytest.raises(KeyError), writing("x.bin", OwnError):
        raise KeyError
    with pytest.raises(PermissionError), writing("x.bin", Exception):
        raise PermissionError


def test_readers_see_one_version_while_writers_replace_it(tmp_path):
    out = tmp_path / "out"
    write(out, "w 0 " * 2000)
    writers = [writer(out, "ever", name=name) for name in "xy"]
    try:
        end, versions = time.monotonic() + 3, set()
        while time.monotonic() < end:
            versions.add(read_steadily(out, version_of))
    finally:
        for process in writers:
            process.kill()
            process.wait()
    assert len(versions) > 10


def test_ways_out_of_a_folder_are_refused(tmp_path):
    out, secret = tmp_path / "out", tmp_path / "secret"
    write(out, "old")
    secret.mkdir()
    (secret / "file").write_text("mine")
    (out / "inside").symlink_to("sub/c")
    assert read_steadily(out, version_of) == "old"
    for link in ("../../secret", str(secret / "file"), "../../out2", "no/../../../secret"):
        (out / "sub" / "link").symlink_to(link)
        with pytest.raises(InputError, match="link is no plain file, or leads out"):
            read_steadily(out, version_of)
        (out / "sub" / "link").unlink()
    os.mkfifo(out / "pipe")
    with pytest.raises(InputError, match="pipe is no plain file"):
        read_steadily(out, version_of)


def test_other_outputs_are_not_written_over(tmp_path):
    def is_ours(path):
        return path.is_file() and path.read_text() == "ours"

    for name, text in (("empty", ""), ("ours", "ours"), ("mine", "mine")):
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    for name in ("nowhere", "empty", "ours", "folder"):
        refuse_other_output(tmp_path / name, is_ours, "thing of ours")
    (tmp_path / "folder" / "x").write_text("ours")
    for name in ("mine", "folder"):
        with pytest.raises(InputError, match=f"{name} exists and is no thing of ours"):
            refuse_other_output(tmp_path / name, is_ours, "thing of ours")
        refuse_other_output(tmp_path / name, is_ours, "thing of ours", force=True)
    assert holds_only(tmp_path / "folder", {"x", "y"})
    assert not holds_only(tmp_path / "folder", {"y"})
    assert not holds_only(tmp_path / "mine", {"y"})
