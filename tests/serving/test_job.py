"""Jobs: no row lost, none twice, whatever kills them."""

import json
import random
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from p5mm.errors import InputError
from p5mm.serving import job as module
from p5mm.serving.job import MANIFEST, Job, is_job, joined
from p5mm.serving.long_table import LongTable

ROWS = LongTable.of(pa.table({"n": list(range(23))}), "numbers")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 5)


def doubled(window, before, shown):
    assert window["n"][0].as_py() == before
    shown.update(window.num_rows)
    return pa.table({"n": [2 * n for n in window["n"].to_pylist()]})


def rows(job):
    return [row["n"] for batch in joined(job.parts) for row in batch.to_pylist()]


WHOLE = [2 * n for n in range(23)]


def test_all_rows_in_order(tmp_path):
    job = Job(tmp_path / "out", {"model": "a", "options": {"deny": (), "k": 3}})
    assert job.run(ROWS, doubled, "double", "number") == 23
    assert rows(job) == WHOLE
    assert [path.name for path in job.parts] == [f"part-{n:06}.parquet" for n in range(5)]
    assert is_job(tmp_path / "out")

    def never(*_):
        raise AssertionError("it is done")

    assert job.run(ROWS, never, "double", "number") == 23  # what is done stays


@pytest.mark.parametrize("stops", range(1, 5))
def test_it_goes_on_where_it_was(tmp_path, stops):
    done = []

    def interrupted(window, before, shown):
        if len(done) == stops:
            raise KeyboardInterrupt
        done.append(before)
        return doubled(window, before, shown)

    job = Job(tmp_path / "out", {"model": "a"})
    with pytest.raises(KeyboardInterrupt):
        job.run(ROWS, interrupted, "double", "number")
    assert len(job.parts) == stops
    again = []

    def goes_on(window, before, shown):
        again.append(before)
        return doubled(window, before, shown)

    assert job.run(ROWS, goes_on, "double", "number") == 23
    assert done + again == [0, 5, 10, 15, 20]
    assert rows(job) == WHOLE


def test_a_torn_line_and_a_lost_part(tmp_path):
    job = Job(tmp_path / "out", {"model": "a"})
    job.run(ROWS, doubled, "double", "number")
    manifest = job.folder / MANIFEST
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([*lines[:3], lines[3][:9]]))
    assert job.run(ROWS, doubled, "double", "number") == 23
    assert rows(job) == WHOLE
    job.parts[1].unlink()
    assert job.run(ROWS, doubled, "double", "number") == 23
    assert rows(job) == WHOLE


def test_nothing_is_left_of_what_did_not_begin(tmp_path):
    def broken(*_):
        raise InputError("row 3 has no user_id")

    with pytest.raises(InputError, match="row 3"):
        Job(tmp_path / "out", {}).run(ROWS, broken, "double", "number")
    assert not (tmp_path / "out").exists()


def test_another_question_is_refused(tmp_path):
    Job(tmp_path / "out", {"model": "a", "users": "u"}).run(ROWS, doubled, "double", "number")
    other = Job(tmp_path / "out", {"model": "b", "users": "u"})
    with pytest.raises(InputError, match="holds a job with another model; give another place"):
        other.run(ROWS, doubled, "double", "number")
    assert other.run(ROWS, doubled, "double", "number", anew=True) == 23
    scratch = Job(tmp_path / "out", {"model": "c"}, scratch=True)
    assert scratch.run(ROWS, doubled, "double", "number") == 23
    assert rows(scratch) == WHOLE


def test_two_at_once(tmp_path):
    job = Job(tmp_path / "out", {})

    def meets(window, before, shown):
        if before == 10:
            with pytest.raises(InputError, match="another job writes into"):
                Job(tmp_path / "out", {}).run(ROWS, doubled, "double", "number")
        return doubled(window, before, shown)

    assert job.run(ROWS, meets, "double", "number") == 23
    assert rows(job) == WHOLE


def test_an_empty_table_has_one_empty_part(tmp_path):
    empty = LongTable.of(pa.table({"n": pa.array([], pa.int64())}), "none")
    job = Job(tmp_path / "out", {})
    assert job.run(empty, lambda window, *_: window, "double", "number") == 0
    assert pq.read_table(job.parts[0]).column_names == ["n"]


def test_somebody_elses_folder_is_no_job(tmp_path):
    assert not is_job(tmp_path)
    (tmp_path / MANIFEST).write_text("{}\n")
    assert is_job(tmp_path)
    (tmp_path / "thesis.txt").write_text("x")
    assert not is_job(tmp_path)
    assert not is_job(tmp_path / "none")


SCRIPT = """
import sys, time
import pyarrow as pa
from p5mm.serving.long_table import LongTable
from p5mm.serving import job as module
module.WINDOW = 5
rows = LongTable.of(pa.table({"n": list(range(23))}), "numbers")
def slow(window, before, shown):
    time.sleep(0.02)
    return pa.table({"n": [2 * n for n in window["n"].to_pylist()]})
print("begins", flush=True)
module.Job(module.Path(sys.argv[1]), {"model": "a"}).run(rows, slow, "double", "number")
"""


def test_killed_again_and_again(tmp_path):
    """kill -9 at random moments; the last run finishes."""
    draws, kills = random.Random(0), 0
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "out")]
    for _ in range(6):
        run = subprocess.Popen(command, stdout=subprocess.PIPE)
        run.stdout.readline()
        time.sleep(draws.random() * 0.1)
        run.send_signal(signal.SIGKILL)
        kills += run.wait() == -signal.SIGKILL
        run.stdout.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert kills
    job = Job(tmp_path / "out", {"model": "a"})
    assert rows(job) == WHOLE
    assert json.loads((job.folder / MANIFEST).read_text().splitlines()[-1]) == {"finished": True}


def test_a_manifest_names_no_other_files(tmp_path):
    """What is not the next part, with its number of rows, is made again with all after it."""
    job = Job(tmp_path / "out", {"model": "a"})
    job.run(ROWS, doubled, "double", "number")
    pq.write_table(pa.table({"n": [666]}), tmp_path / "secret.parquet")
    manifest = job.folder / MANIFEST
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, change in ((2, {"part": "../secret.parquet"}), (3, {"rows": "5"}), (1, {})):
        wrong = [line | change if n == number else line for n, line in enumerate(lines)]
        wrong = wrong if change else [*lines[:1], *lines[2:]]  # without the first part
        manifest.write_text("".join(f"{json.dumps(line)}\n" for line in wrong))
        assert len(job.parts) == number - 1
        assert job.run(ROWS, doubled, "double", "number") == 23
        assert rows(job) == WHOLE


@pytest.mark.parametrize("text", [b"", b"[]\n", b"\xff\xfe", b"{"])
def test_parts_without_a_manifest_are_not_taken_for_ours(tmp_path, text):
    job = Job(tmp_path / "out", {"model": "a"})
    job.run(ROWS, doubled, "double", "number")
    (job.folder / MANIFEST).write_bytes(text)
    few = LongTable.of(pa.table({"n": [1, 2]}), "few")
    with pytest.raises(InputError, match="begin anew with --force"):
        job.run(few, doubled_few, "double", "number")
    assert job.run(few, doubled_few, "double", "number", anew=True) == 2
    assert pq.read_table(job.folder)["n"].to_pylist() == [2, 4]


def doubled_few(window, before, shown):
    return pa.table({"n": [2 * n for n in window["n"].to_pylist()]})


def test_what_is_not_ours_is_never_removed(tmp_path):
    job = Job(tmp_path / "out", {"model": "a"})
    job.run(ROWS, doubled, "double", "number")
    other = job.folder / "part-00000-3f2a.snappy.parquet"
    other.write_text("of Spark")
    job.run(ROWS, doubled, "double", "number", anew=True)
    job.clear()
    assert [path.name for path in job.folder.iterdir()] == [other.name]


def test_nobody_comes_between_the_parts_and_what_is_made_of_them(tmp_path):
    job = Job(tmp_path / "out", {"model": "a"}, scratch=True)
    told = []

    def finish(count):
        with pytest.raises(InputError, match="another job writes into"):
            Job(tmp_path / "out", {"model": "b"}, scratch=True).run(ROWS, doubled, "x", "number")
        told.append((count, rows(job)))
        job.clear()

    job.run(ROWS, doubled, "double", "number", finish=finish)
    assert told == [(23, WHOLE)]
    assert not job.folder.exists()


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", none)
    assert Job(tmp_path / "out", {}).run(ROWS, doubled, "double", "number") == 23


def test_a_wipe_that_is_killed_leaves_what_is_known_as_a_job(tmp_path, monkeypatch):
    job = Job(tmp_path / "out", {"model": "a"}, scratch=True)
    job.run(ROWS, doubled, "double", "number")
    removed, unlink = [], module.Path.unlink

    def dying(path, missing_ok=False):
        if len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(module.Path, "unlink", dying)
    with pytest.raises(KeyboardInterrupt):
        job.clear()
    monkeypatch.undo()
    assert MANIFEST not in removed
    assert is_job(job.folder)


def test_drafts_alone_are_of_a_job_that_was_killed_at_once(tmp_path):
    (tmp_path / "out").mkdir()
    assert not is_job(tmp_path / "out")
    (tmp_path / "out" / f".{MANIFEST}.draft-1234").write_text("")
    assert is_job(tmp_path / "out")


def test_a_folder_that_was_there_stays(tmp_path):
    def failing(*_):
        raise InputError("no")

    for there in (True, False):
        folder = tmp_path / f"out{there}"
        if there:
            folder.mkdir()
        with pytest.raises(InputError):
            Job(folder, {"model": "a"}).run(ROWS, failing, "double", "number")
        assert folder.is_dir() == there
