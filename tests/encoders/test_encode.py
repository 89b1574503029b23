import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from p5mm.encoders.encode import encode_items
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.content import content_key
from p5mm.encoders.vector import VectorColumn
from p5mm.errors import InputError
from p5mm.testing import ConformanceError, check_encoder


class Lengths:
    """A text's length and first letter; counts what it loads in this process."""

    modality, dim, fingerprint = "text", 2, "lengths"

    def __init__(self):
        self.loaded = []

    def load(self, raw):
        self.loaded.append(raw)
        if raw == "bug":
            raise KeyError("a stranger's bug")
        if raw.startswith("!"):
            raise ValueError("refused")
        return np.array([len(raw), ord(raw[0])])

    def encode(self, batch):
        return np.array(batch, dtype=np.float32).reshape(-1, 2)


RAWS = ["bb", None, "!x", "a", "bb", "bug", "cccc", None, "!x"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stored", [True, False])
def test_order_absence_and_quarantine(workers, stored, store):
    features = encode_items(
        Lengths(), "my:spec", RAWS, store if stored else None, workers=workers, batch_size=2
    )
    assert features.present.tolist() == [1, 0, 0, 1, 1, 0, 1, 0, 0]
    assert features.vectors[[0, 3, 4, 6], 0].tolist() == [2, 1, 2, 4]
    assert not features.vectors[~features.present].any()
    assert [(bad.row, bad.reason) for bad in features.quarantine] == [
        (2, "refused"), (5, "KeyError: \"a stranger's bug\""), (8, "refused")]  # fmt: skip
    assert (features.modality, features.spec, features.fingerprint) == (
        "text", "my:spec", "lengths")  # fmt: skip


def test_equal_contents_are_loaded_once_and_known_ones_not_at_all(store):
    encoder = Lengths()
    first = encode_items(encoder, "s", RAWS, store)
    assert sorted(encoder.loaded) == sorted(["bb", "!x", "a", "bug", "cccc"])
    encoder.loaded.clear()
    again = encode_items(encoder, "s", [*RAWS, "new"], store)
    assert sorted(encoder.loaded) == ["!x", "bug", "new"]
    np.testing.assert_array_equal(again.vectors[:-1], first.vectors)


def test_nothing_to_encode(store):
    for raws in ([], [None, None]):
        features = encode_items(Lengths(), "s", raws, store)
        assert features.vectors.shape == (len(raws), 2)
        assert not features.present.any()
    assert not store.path.exists()


def test_texts_go_by_length():
    encoder = Lengths()
    encode_items(encoder, "s", ["a" * n for n in (3, 1, 4, 1, 5, 9)], batch_size=2)
    assert [len(raw) for raw in encoder.loaded] == [9, 5, 4, 3, 1, 1]


def test_an_encoder_that_breaks_its_contract_is_named():
    class Wrong(Lengths):
        def encode(self, batch):
            return super().encode(batch)[:, :1]

    with pytest.raises(InputError, match=r"text encoder gave shape \[1, 1\].* not \[1, 2\]"):
        encode_items(Wrong(), "s", ["a"])

    class Nan(Lengths):
        def encode(self, batch):
            return super().encode(batch) * np.nan

    with pytest.raises(InputError, match="NaN"):
        encode_items(Nan(), "s", ["a"])


def test_vectors_take_the_most_common_length(store):
    raws = [[9.0], [1.0, 2.0], None, [3.0, 4.0], ["x", "y"]]
    features = encode_items(VectorColumn("sound"), "vector:sound", raws, store)
    assert features.dim == 2
    assert features.modality == "sound"
    assert features.present.tolist() == [False, True, False, True, False]
    assert [bad.row for bad in features.quarantine] == [0, 4]
    assert not store.path.exists()


def test_bad_pictures_do_not_stop_a_run(store, tmp_path, pictures):
    from p5mm.encoders.picture import read_picture

    class Mean(Lengths):
        modality, dim, fingerprint = "image", 3, "mean"

        def load(self, raw):
            return np.asarray(read_picture(raw)).mean(axis=(0, 1))

        def encode(self, batch):
            return np.array(batch, dtype=np.float32).reshape(-1, 3)

    (tmp_path / "good.png").write_bytes(pictures[0])
    (tmp_path / "text.jpg").write_text("text")
    (tmp_path / "empty.jpg").write_bytes(b"")
    raws = [tmp_path / name for name in ("text.jpg", "good.png", "empty.jpg", "none.jpg")]
    features = encode_items(Mean(), "s", [*raws, pictures[0]], store, workers=2, batch_size=1)
    assert features.present.tolist() == [False, True, False, False, True]
    assert [bad.reason for bad in features.quarantine] == [
        "not a picture (text)", "empty file (0 bytes)", "no such file"]  # fmt: skip
    assert len(store.table("mean", 3)) == 1


SLOW = """
import sys, time
import numpy as np
from p5mm.encoders.encode import encode_items
from p5mm.encoders.store import FeatureStore

class Slow:
    modality, dim, fingerprint = "text", 1, "slow"
    def load(self, raw):
        return float(raw)
    def encode(self, batch):
        time.sleep(0.05)
        return np.array(batch, dtype=np.float32).reshape(-1, 1)

encode_items(Slow(), "s", [str(i) for i in range(5000)], FeatureStore(sys.argv[1]),
             batch_size=8, workers=2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_stopped(how, store):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(store.path)], stderr=subprocess.PIPE, text=True
    )
    table = store.table("slow", 1)
    limit = time.monotonic() + 60
    while len(table) == 0 and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(how)
    _, error = process.communicate(timeout=30)
    if how == signal.SIGINT:
        assert error.count("Traceback") <= 1  # the workers die in silence
        assert "KeyboardInterrupt" in error
    kept, vectors = table.get([content_key(str(i)) for i in range(5000)])
    assert 0 < kept.sum() < 5000
    np.testing.assert_array_equal(vectors[:, 0], np.flatnonzero(kept))


def test_the_same_vectors_with_and_without_workers(specs, pictures, tmp_path):
    from p5mm.encoders.build import make_encoder

    encoder = make_encoder(specs["timm"][0])
    files = []
    for i, data in enumerate(pictures * 3):
        files.append(tmp_path / f"{i}.png")
        files[-1].write_bytes(data)
    alone, threaded = (encode_items(encoder, "s", files, batch_size=4, workers=n) for n in (0, 2))
    np.testing.assert_allclose(alone.vectors, threaded.vectors, atol=1e-6)


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / "occupied").write_text("")
    with pytest.raises(InputError, match="P5MM_CACHE"):
        encode_items(Lengths(), "s", ["a"], FeatureStore(tmp_path / "occupied"))


class FileLength(Lengths):
    """Reads the file that a column names, and gives its length."""

    modality, dim, fingerprint, reads_files = "sound", 1, "file length", True

    def load(self, raw):
        return len(raw.read_bytes() if hasattr(raw, "read_bytes") else raw)

    def encode(self, batch):
        return np.array(batch, dtype=np.float32).reshape(-1, 1)


def test_another_file_under_the_same_name_gets_its_own_vector(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"12")
    assert encode_items(FileLength(), "s", ["a.wav"], store).vectors.tolist() == [[2]]
    (tmp_path / "a.wav").write_bytes(b"12345")
    assert encode_items(FileLength(), "s", ["a.wav"], store).vectors.tolist() == [[5]]
    (tmp_path / "b.wav").write_bytes(b"12")
    features = encode_items(FileLength(), "s", ["b.wav", b"12", "none.wav"], store)
    assert features.vectors.tolist() == [[2], [2], [0]]
    assert len(store.table("file length", 1)) == 2
    assert "none.wav" in features.quarantine[0].reason


def test_the_kit_knows_encoders_that_read_files(tmp_path):
    for name in ("a", "bb"):
        (tmp_path / name).write_bytes(name.encode() * 3)
    samples = [str(tmp_path / name) for name in ("a", "bb")]

    class Quarantines(FileLength):
        def load(self, raw):
            try:
                return super().load(raw)
            except OSError as error:
                raise ValueError(str(error)) from error

    check_encoder(Quarantines(), samples, broken=[str(tmp_path / "none")])

    class Secret(Quarantines):
        reads_files = False

        def load(self, raw):
            return len(open(raw, "rb").read())

    with pytest.raises(ConformanceError, match="reads_files = True"):
        check_encoder(Secret(), samples)


class Where(Lengths):
    """Knows which process and thread loaded what."""

    fingerprint = "where"

    def __init__(self):
        self.seen = set()

    def load(self, raw):
        time.sleep(0.001)
        self.seen.add((os.getpid(), threading.current_thread()))
        return np.array([len(raw), 1])


def test_values_are_loaded_by_threads_of_this_process():
    encoder = Where()
    encode_items(encoder, "s", [str(i) for i in range(200)], workers=3, batch_size=4)
    assert {process for process, _ in encoder.seen} == {os.getpid()}
    assert len(encoder.seen) == 3
    assert not any(thread.is_alive() for _, thread in encoder.seen)


def test_an_encoder_that_wants_no_threads_gets_none():
    encoder = Where()
    encoder.one_thread = True
    encode_items(encoder, "s", [str(i) for i in range(200)])
    assert encoder.seen == {(os.getpid(), threading.main_thread())}


def test_neither_shared_memory_nor_temporary_files_are_needed(monkeypatch, pictures):
    """Three of four runs with a small /dev/shm hung for ever when worker processes loaded."""

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for name in ("multiprocessing.shared_memory.SharedMemory", "multiprocessing.Process.start",
                 "multiprocessing.context.ForkProcess.start", "tempfile.mkdtemp",
                 "tempfile.mkstemp", "torch.utils.data.DataLoader.__iter__",
                 "os.fork"):  # fmt: skip
        monkeypatch.setattr(name, refuse)
    features = encode_items(Where(), "s", [str(i) for i in range(300)], workers=4, batch_size=8)
    assert features.present.all()


def test_an_error_that_is_no_reason_ends_the_run_at_once():
    loaded = []

    class Dies(Where):
        def load(self, raw):
            loaded.append(raw)
            if raw == "1007":  # of the longest, which come first
                raise SystemExit("the worker is dead")
            return super().load(raw)

    with pytest.raises(SystemExit, match="dead"):
        encode_items(Dies(), "s", [str(i) for i in range(5000)], workers=2, batch_size=4)
    assert len(loaded) < 100


def test_a_model_that_fails_leaves_no_thread_behind():
    class Fails(Where):
        def encode(self, batch):
            raise RuntimeError("no memory on the device")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no memory"):
        encode_items(Fails(), "s", [str(i) for i in range(500)], workers=2, batch_size=4)
    assert threading.active_count() == before


def test_an_os_error_names_its_file(tmp_path):
    class Silent(Where):
        def load(self, raw):
            raise OSError(24, "Too many open files")

    features = encode_items(Silent(), "s", [tmp_path / "a.png"])
    assert features.quarantine[0].reason.endswith(f"Too many open files ({tmp_path / 'a.png'})")


class Replaced:
    """The first letter of a file; at the first loads the file is replaced before it is read."""

    modality, dim, fingerprint, one_thread = "image", 1, "first letters", True

    def __init__(self, *contents):
        self.contents = list(contents)

    def load(self, raw):
        if self.contents:
            raw.write_bytes(self.contents.pop(0))
        if not (data := raw.read_bytes()):
            raise ValueError("nothing in it")
        return np.array([data[0]])

    def encode(self, batch):
        return np.array(batch, dtype=np.float32).reshape(-1, 1)


@pytest.fixture(params=[0, 10], ids=["new", "settled"])
def twins(tmp_path, request, monkeypatch):
    """Two files of one content, so new that they could change unseen, or not."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + request.param * 10**9)
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(b"old")
    return paths


def test_a_file_replaced_before_it_is_loaded_is_kept_as_what_it_is(twins, store):
    """Nothing of the new one has the key of the old one, and its twin is what it was."""
    features = encode_items(Replaced(b"new"), "s", twins, store)
    assert features.vectors[:, 0].tolist() == [ord("n"), ord("o")]
    assert not features.quarantine
    table = store.table("first letters", 1)
    known, vectors = table.get([content_key(b"old"), content_key(b"new")])
    assert known.all()
    assert vectors[:, 0].tolist() == [ord("o"), ord("n")]


def test_a_file_that_breaks_before_it_is_loaded_takes_no_twin_with_it(twins, store):
    features = encode_items(Replaced(b""), "s", twins, store)
    assert features.present.tolist() == [False, True]
    assert [(bad.row, bad.reason) for bad in features.quarantine] == [(0, "nothing in it")]


def test_a_file_that_never_rests_is_given_up(twins, store):
    letters = [bytes([letter]) for letter in range(65, 90)]
    features = encode_items(Replaced(*letters), "s", twins[:1], store)
    assert not features.present.any()
    assert [bad.reason for bad in features.quarantine] == [
        "it is replaced again and again while it is read"
    ]
    assert not len(store.table("first letters", 1))


def test_settled_files_are_read_once_for_their_keys(twins, store, request, monkeypatch):
    from p5mm.encoders.values import content

    read, real = [], content.content_key
    monkeypatch.setattr(content, "content_key", lambda raw: (read.append(raw), real(raw))[1])
    encode_items(Replaced(), "s", twins, store)
    settled = request.node.callspec.id == "settled"
    assert len(read) == (2 if settled else 3)
