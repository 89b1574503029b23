import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5mm.encoders.base import Features, Quarantined
from p5mm.encoders.encode import encode_items
from p5mm.encoders.values.several import flattened, pooled


class Codes:
    """The bytes of a value are its vector; counts what it encodes."""

    modality, dim, fingerprint = "image", 3, "codes"

    def __init__(self):
        self.seen = []

    def load(self, raw):
        self.seen.append(raw)
        if len(raw) != 3:
            raise ValueError("broken")
        return np.frombuffer(raw, np.uint8)

    def encode(self, batch):
        return np.asarray(batch, np.float32).reshape(-1, 3)


def test_the_mean_of_unit_vectors_at_their_mean_length(store):
    raws = [
        (b"\x03\0\0", b"\0\x05\0"),
        b"\x03\0\0",
        None,
        (b"\0\0\x02", b"bad!", b"\0\0\x04"),
        (b"no",),
    ]
    encoder = Codes()
    for _ in range(2):
        features = encode_items(encoder, "s", raws, store)
        np.testing.assert_allclose(
            features.vectors,
            [[8**0.5, 8**0.5, 0], [3, 0, 0], [0, 0, 0], [0, 0, 3], [0, 0, 0]], rtol=1e-6,
        )  # fmt: skip
        assert features.present.tolist() == [1, 1, 0, 1, 0]
        assert features.quarantine == (
            Quarantined(3, "image 2 of 3: broken"),
            Quarantined(4, "broken"),
        )
    assert sorted(encoder.seen) == sorted([b"\x03\0\0", b"\0\x05\0", b"\0\0\x02", b"\0\0\x04",
                                           b"bad!", b"no", b"bad!", b"no"])  # fmt: skip


@given(st.lists(st.lists(st.integers(-3, 3), max_size=4), min_size=1, max_size=6))
def test_as_a_loop_over_items_makes_it(given_items):
    """Any numbers of values, some absent, some that cancel each other."""
    raws = [tuple(item) if len(item) != 1 else item[0] for item in given_items]
    values, owners = flattened(raws)
    present = np.array([value not in (None, 3) for value in values], bool)
    numbers = np.where(present, [value or 0 for value in values], 0)
    vectors = np.stack([numbers, numbers**2], axis=1).astype(np.float32)
    features = Features("image", "s", "f", vectors, present)
    made = pooled(features, owners, len(raws))
    for row in range(len(raws)):
        mine = [vectors[i] for i, owner in enumerate(owners) if owner == row and present[i]]
        assert made.present[row] == bool(mine)
        if not mine:
            assert not made.vectors[row].any()
            continue
        lengths = [np.linalg.norm(v) for v in mine]
        units = [v / n if n else v for v, n in zip(mine, lengths, strict=True)]
        mean = np.mean(units, axis=0)
        norm = np.linalg.norm(mean)
        expected = mean / norm * np.mean(lengths) if norm > 1e-6 else None
        if expected is not None:
            np.testing.assert_allclose(made.vectors[row], expected, rtol=1e-4, atol=1e-5)


def test_one_value_stays_what_it_is():
    vectors = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    features = Features("image", "s", "f", vectors, np.ones(4, bool))
    np.testing.assert_array_equal(pooled(features, [0, 1, 2, 3], 4).vectors, vectors)


@pytest.mark.parametrize("cancel", [[[1, 0], [-1, 0]], [[0, 0], [0, 0]]])
def test_vectors_that_cancel_give_zero(cancel):
    features = Features("image", "s", "f", np.array(cancel, np.float32), np.ones(2, bool))
    made = pooled(features, [0, 0], 1)
    assert np.isfinite(made.vectors).all()
    assert not made.vectors.any()
