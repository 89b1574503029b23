import numpy as np
import pytest

from p5mm.errors import InputError
from p5mm.fusion.standardise import Standardiser


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) * 30 + 7
    return mixed.astype(np.float32)


@pytest.fixture
def present():
    return np.arange(200) % 4 > 0


@pytest.mark.parametrize("whiten", [False, True])
def test_centred_at_unit_average_square_and_zero_where_absent(vectors, present, whiten):
    out = Standardiser.fit(vectors, present, whiten)(vectors, present)
    assert out.dtype == np.float32
    assert np.abs(out[present].mean(0)).max() < 1e-4
    assert np.square(out[present]).mean() == pytest.approx(1, abs=1e-4)
    assert not out[~present].any()


def test_whitened_axes_are_uncorrelated_and_of_many_vectors_equal():
    mixed = np.random.default_rng(0).normal(size=(20_000, 4)) @ np.diag([9, 3, 1, 0.5])
    present, turn = np.ones(len(mixed), bool), np.linalg.qr(np.arange(16.0).reshape(4, 4) ** 2)[0]
    mixed = (mixed @ turn + 7).astype(np.float32)
    out = Standardiser.fit(mixed, present, True)(mixed, present)
    np.testing.assert_allclose(out.T @ out / len(out), np.eye(4), atol=0.02)


def test_unwhitened_keeps_the_geometry(vectors, present):
    made = Standardiser.fit(vectors, present, False)
    out = made(vectors, present)[present]
    ratio = np.linalg.norm(out[1:] - out[0], axis=1) / np.linalg.norm(
        vectors[present][1:] - vectors[present][0], axis=1
    )
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_absent_vectors_are_not_learned_from(vectors, present):
    spoiled = np.where(present[:, None], vectors, np.nan).astype(np.float32)
    expected = Standardiser.fit(vectors, present, True)(vectors, present)
    found = Standardiser.fit(spoiled, present, True)(spoiled, present)
    np.testing.assert_array_equal(found, expected)


def test_axes_without_spread_say_nothing(vectors, present):
    flat = np.concatenate([vectors, vectors[:, :2], np.full((200, 1), 3)], axis=1)
    out = Standardiser.fit(flat.astype(np.float32), present, True)(flat, present)
    assert np.isfinite(out).all()
    sizes = np.linalg.svd(out[present], compute_uv=False)
    assert (sizes[6:] < 1e-3 * sizes[5]).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_vectors(vectors, count):
    present = np.arange(200) < count
    out = Standardiser.fit(vectors, present, True)(vectors, present)
    assert np.isfinite(out).all()
    assert out.shape == (200, 6)


@pytest.mark.parametrize("value", [0.0, 3.0, 1e-40])
@pytest.mark.parametrize("rows", [3, 30])
def test_vectors_that_are_all_alike_say_nothing(value, rows):
    vectors, present = np.full((rows, 4), value, np.float32), np.ones(rows, bool)
    for whiten in (True, False):
        standardise = Standardiser.fit(vectors, present, whiten)
        mapped = standardise(vectors, present)
        assert mapped.shape == (rows, 4)
        np.testing.assert_allclose(mapped, 0, atol=1e-6)


def test_values_beyond_what_can_be_squared_are_named():
    vectors = np.full((30, 4), 1e20, np.float32)
    with pytest.raises(InputError, match=r"the value 1.0e\+20"):
        Standardiser.fit(vectors, np.ones(30, bool), True)


@pytest.mark.parametrize("whiten", [False, True])
def test_upright_maps_keep_angles_and_agree_between_catalogs(vectors, present, whiten):
    made = Standardiser.fit(vectors, present, whiten)
    upright = made.upright
    out, turned = made(vectors, present), upright(vectors, present)
    np.testing.assert_allclose(turned @ turned.T, out @ out.T, atol=2e-2)
    np.testing.assert_allclose(upright.axes, upright.axes.T, atol=1e-5)
    assert (np.linalg.eigvalsh(upright.axes) > 0).all()  # nothing is mirrored
    halves = [Standardiser.fit(v, np.ones(len(v), bool), whiten).upright
              for v in (vectors[::2], vectors[1::2])]  # fmt: skip
    one, other = (half(vectors, present)[present] for half in halves)
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert np.median(cosines) > 0.95


def test_upright_maps_keep_the_width_where_axes_are_left_out(present):
    mixed = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    mixed[:, 5] *= 1e-8
    made = Standardiser(np.zeros(6, np.float32), np.eye(6, dtype=np.float32)[:, :5])
    assert made.upright.axes.shape == (6, 6)
    np.testing.assert_allclose(
        made.upright(mixed, present) @ made.upright(mixed, present).T,
        made(mixed, present) @ made(mixed, present).T, atol=1e-4,
    )  # fmt: skip


def test_the_fewer_vectors_the_less_is_whitened():
    """Of hardly more vectors than dimensions whitening alone would make a simplex."""
    rng = np.random.default_rng(0)
    spread = np.geomspace(1, 0.01, 40)
    kinds = rng.normal(size=(8, 40)) * spread
    for n in (3, 42, 60):
        kind = np.arange(n) % 8
        raw = (kinds[kind] + 0.2 * rng.normal(size=(n, 40)) * spread).astype(np.float32)
        out = Standardiser.fit(raw, np.ones(n, bool), True)(raw, np.ones(n, bool))
        assert np.isfinite(out).all()
        unit = out / np.linalg.norm(out, axis=1, keepdims=True)
        cosines = unit @ unit.T - 2 * np.eye(n)
        if n > 8:
            assert (kind[cosines.argmax(1)] == kind).mean() > 0.9


def test_shrinkage_is_that_of_ledoit_and_wolf():
    from sklearn.covariance import LedoitWolf

    raw = (np.random.default_rng(0).normal(size=(50, 12)) * np.arange(1, 13)).astype(np.float32)
    made = Standardiser.fit(raw, np.ones(50, bool), True)
    precision = made.axes @ made.axes.T
    known = np.linalg.inv(LedoitWolf().fit(raw).covariance_)
    np.testing.assert_allclose(precision / precision.trace(), known / known.trace(), atol=1e-5)
