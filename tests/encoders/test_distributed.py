"""What goes to a worker and comes back, without Ray: pieces are done one after the other here."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from p5mm.encoders.distributed import PIECE, Distributed, can_travel
from p5mm.encoders.encode import encode_items
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.vector import VectorColumn
from p5mm.errors import InputError


class Here:
    """Stands for a cluster; counts the pieces."""

    def __init__(self):
        self.rows = []

    def map(self, work, pieces, gpu=False):
        assert gpu
        for piece in pieces:
            self.rows.append(piece.num_rows)
            yield work(piece)


class Sizes:
    """Of a text its letters, of bytes their number, of a file its name's; nothing is refused."""

    modality, dim = "size", 2

    def __init__(self, version=1):
        self.fingerprint = f"sizes, version {version}"

    def load(self, raw):
        size = len(raw.name if isinstance(raw, Path) else raw)
        if not size:
            raise ValueError("nothing in it")
        return [float(size), float(type(raw) in (str, bytes))]

    def encode(self, batch):
        return np.reshape(batch, (-1, 2))


RAWS = ["häuser", b"\x00\xff", Path("there/a.png"), None, "", "häuser", *(["x" * 9] * 2)]


def test_values_come_back_as_they_are_encoded_here(tmp_path):
    raws = [*RAWS, *(f"text {n}" for n in range(50))]
    one = encode_items(Sizes(), "sizes", raws, batch_size=2)
    cluster, store = Here(), FeatureStore(tmp_path)
    for kept in (None, store):
        there = Distributed(cluster, Sizes)
        other = encode_items(Sizes(), "sizes", raws, kept, batch_size=2, elsewhere=there)
        assert other.vectors.tolist() == one.vectors.tolist()
        assert other.present.tolist() == one.present.tolist()
        assert other.quarantine == one.quarantine
    assert max(cluster.rows) == 2 * PIECE
    known = Here()
    encode_items(Sizes(), "sizes", raws[:2], store, elsewhere=Distributed(known, Sizes))
    assert known.rows == []  # what the store knows goes nowhere


def test_another_encoder_on_a_worker_is_refused():
    versions = itertools.count(2)
    there = Distributed(Here(), lambda: Sizes(next(versions)))
    with pytest.raises(InputError, match="on a worker is another one"):
        encode_items(Sizes(), "sizes", ["a"], elsewhere=there)


def test_vectors_stay():
    assert can_travel(Sizes(), RAWS)
    assert not can_travel(Sizes(), [[1.0, 2.0]])
    assert not can_travel(VectorColumn("style"), [None])
