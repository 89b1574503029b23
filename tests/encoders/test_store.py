import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.content import content_key, content_keys
from p5mm.errors import InputError


def vectors(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 4), dtype=np.float32)


def keys(n, start=0):
    return [content_key(str(i)) for i in range(start, start + n)]


def test_what_is_put_is_got(store):
    table = store.table("enc", 4)
    known, none = table.get(keys(3))
    assert not known.any()
    assert none.shape == (0, 4)
    table.put(keys(3), vectors(3))
    known, got = FeatureStore(store.path).table("enc", 4).get([*keys(1, 2), *keys(2, 9), *keys(1)])
    assert known.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(got, vectors(3)[[2, 0]])


def test_the_first_vector_of_a_key_stays(store):
    table = store.table("enc", 4)
    table.put(keys(2), vectors(2))
    table.put(keys(3), vectors(3, seed=1))
    assert len(table) == 3
    expected = np.vstack([vectors(2), vectors(3, seed=1)[2:]])
    np.testing.assert_array_equal(table.get(keys(3))[1], expected)


def test_encoders_are_kept_apart(store):
    store.table("one", 4).put(keys(1), vectors(1))
    assert not store.table("other", 4).get(keys(1))[0].any()
    assert not store.table("one", 5).get(keys(1))[0].any()


@settings(max_examples=25)
@given(puts=st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=6))
def test_it_is_a_dictionary(tmp_path_factory, puts):
    table = FeatureStore(tmp_path_factory.mktemp("s")).table("enc", 1)
    expected = {}
    for turn, numbers in enumerate(puts):
        values = np.array([[100 * turn + i] for i in range(len(numbers))], dtype=np.float32)
        table.put([content_key(str(i)) for i in numbers], values.reshape(-1, 1))
        for i, number in reversed(list(enumerate(numbers))):
            if number not in expected or expected[number] // 100 == turn:
                expected[number] = 100 * turn + i
    known, got = table.get([content_key(str(i)) for i in range(31)])
    assert [i for i in range(31) if known[i]] == sorted(expected)
    # within one put any row of a repeated key may win, as its content is the same
    assert all(value // 100 == expected[i] // 100 for i, value in
               zip(sorted(expected), got[:, 0], strict=True))  # fmt: skip


def test_keys_are_of_the_content(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "b.jpg").write_bytes(b"one")
    (tmp_path / "c.jpg").write_bytes(b"two")
    a, b, c, missing = content_keys([tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg", "d")])
    assert a == b == content_key(b"one")
    assert a != c
    assert missing is None
    assert content_key([1.0, 2.0]) is None
    assert content_key("\ud800") is not None  # a lone surrogate is no reason to stop


def test_a_torn_write_leaves_nothing(store):
    table = store.table("enc", 4)
    table.put(keys(2), vectors(2))
    with (table.folder / "vectors.f32").open("ab") as file:
        file.write(b"half a row")  # what a kill between write and commit leaves
    table.put(keys(2, 2), vectors(4)[2:])
    np.testing.assert_array_equal(table.get(keys(4))[1], np.vstack([vectors(2), vectors(4)[2:]]))


def fill(path, start, n):
    table = FeatureStore(path).table("enc", 4)
    for i in range(start, start + n):
        table.put([content_key(str(i))], np.full((1, 4), i, dtype=np.float32))


def test_two_processes_at_once_and_one_killed(store):
    store.table("enc", 4)
    fork = multiprocessing.get_context("fork")
    doomed = fork.Process(target=fill, args=(store.path, 0, 100_000))
    doomed.start()
    others = [fork.Process(target=fill, args=(store.path, 200_000 + 20 * i, 25)) for i in range(2)]
    for process in others:
        process.start()
    table = store.table("enc", 4)
    limit = time.monotonic() + 20
    while not table.get(keys(5))[0].all() and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(doomed.pid, signal.SIGKILL)
    for process in others:
        process.join(60)
    doomed.join()
    asked = [*range(100_000), *range(200_000, 200_045)]
    known, got = table.get([content_key(str(i)) for i in asked])
    assert known[-45:].all()
    of_the_killed = np.flatnonzero(known[:-45])
    assert len(of_the_killed) >= 5
    assert of_the_killed.tolist() == list(range(len(of_the_killed)))  # whole until the kill
    np.testing.assert_array_equal(got, np.repeat(np.array(asked)[known, None], 4, 1))
    assert len(table) == known.sum()


def test_errors_name_the_folder_and_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"file.*P5MM_CACHE"):
        FeatureStore(tmp_path / "file").table("enc", 4)
    table = FeatureStore(tmp_path / "store").table("enc", 4)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"No space left on device.*P5MM_CACHE"):
        table.put(keys(1), vectors(1))
    monkeypatch.undo()
    assert len(table) == 0
    table.put(keys(1), vectors(1))
    assert len(table) == 1


def test_a_damaged_store_is_an_input_error(store):
    table = store.table("enc", 4)
    table.put(keys(2), vectors(2))
    (table.folder / "vectors.f32").write_bytes(vectors(1).tobytes())
    with pytest.raises(InputError, match="damaged"):
        table.get(keys(2))
    (table.folder / "index.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="not a database"):
        table.get(keys(2))


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("P5MM_CACHE", str(tmp_path / "cache"))
    assert FeatureStore().path == tmp_path / "cache"
    monkeypatch.delenv("P5MM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert FeatureStore().path == tmp_path / "p5mm"
