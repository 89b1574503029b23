"""What takes too long, too much or ends a thread costs its own value, and nothing else."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from p5mm.encoders.encode import encode_items
from p5mm.encoders.values import loading
from p5mm.encoders.values.loading import load_ahead
from p5mm.errors import InputError


class Sleepy:
    """Loads numbers; hangs at what is called so."""

    modality, dim, fingerprint = "image", 1, "sleepy"

    def __init__(self):
        self.wake = threading.Event()

    def load(self, raw):
        if raw.startswith("hang"):
            self.wake.wait(60)
        if raw.startswith("memory"):
            raise MemoryError
        return float(raw.removeprefix("hang").removeprefix("memory"))

    def encode(self, batch):
        return np.asarray(batch, np.float32).reshape(-1, 1)


@pytest.fixture
def sleepy():
    encoder = Sleepy()
    yield encoder
    encoder.wake.set()


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize(
    "hanging", [[0], [3], [7], [0, 1, 2, 3], [4, 8, 12, 16], [39], list(range(20))]
)
def test_hanging_values_are_given_up_and_the_rest_is_loaded(sleepy, workers, hanging):
    raws = [f"hang{n}" if n in hanging else f"{n}" for n in range(40)]
    features = encode_items(sleepy, "s", raws, workers=workers, batch_size=4, seconds=0.1)
    left = [n for n in range(40) if n not in hanging]
    assert np.flatnonzero(features.present).tolist() == left
    assert features.vectors[left, 0].tolist() == left
    assert [bad.row for bad in features.quarantine] == hanging
    assert {bad.reason for bad in features.quarantine} == {
        "loading it took longer than 0.1 s; it was given up"
    }


def test_a_value_that_comes_too_late_is_not_used(sleepy):
    batches = load_ahead(sleepy, ["hang1", "2", "3"], [0, 1, 2], 2, 1, seconds=0.1)
    first = next(batches)
    sleepy.wake.set()
    time.sleep(0.1)
    assert (first.rows, first.values, list(first.reasons)) == ([1], [2.0], [0])
    assert [batch.rows for batch in batches] == [[2]]


def test_too_many_that_hang_end_the_run(sleepy, monkeypatch):
    monkeypatch.setattr(loading, "MOST_GIVEN_UP", 3)
    with pytest.raises(InputError, match=r"4 values took longer than 0\.05 s.*--load-seconds"):
        encode_items(sleepy, "s", [f"hang{n}" for n in range(40)], workers=2, seconds=0.05)


def test_no_memory_for_a_value_is_its_own_reason(sleepy):
    features = encode_items(sleepy, "s", ["1", "memory2", "3"], workers=2, batch_size=1)
    assert [(bad.row, bad.reason) for bad in features.quarantine] == [
        (1, "there is no memory to load it")
    ]


def test_many_threads_and_few_values_lose_nothing(sleepy):
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(50).tolist()
        batches = list(load_ahead(sleepy, [str(n) for n in range(50)], rows, 3, 8, seconds=5))
        assert sorted(row for batch in batches for row in batch.rows) == list(range(50))
        assert all(batch.values == [float(row) for row in batch.rows] for batch in batches)


HANGS = """
import threading
import numpy as np
from p5mm.encoders.encode import encode_items

class Hangs:
    modality, dim, fingerprint = "image", 1, "hangs"
    def load(self, raw):
        if raw == "3":
            threading.Event().wait()
        return float(raw)
    def encode(self, batch):
        return np.asarray(batch, np.float32).reshape(-1, 1)

features = encode_items(Hangs(), "s", [str(n) for n in range(200)], workers=2, seconds=0.2)
print(int(features.present.sum()))
"""


def test_the_process_ends_beside_a_thread_that_hangs():
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "199\n", "")
