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


def test_whitened_axes_are_uncorrelated_and_equal(vectors, present):
    out = Standardiser.fit(vectors, present, True)(vectors, present)[present]
    np.testing.assert_allclose(out.T @ out / len(out), np.eye(6), atol=1e-3)


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


def test_axes_without_spread_are_left_out(vectors, present):
    flat = np.concatenate([vectors, vectors[:, :2], np.full((200, 1), 3)], axis=1)
    out = Standardiser.fit(flat.astype(np.float32), present, True)(flat, present)
    assert out.shape == (200, 6)
    assert np.isfinite(out).all()


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


def test_upright_maps_keep_the_width_where_axes_are_left_out(vectors, present):
    flat = np.concatenate([vectors, vectors[:, :1]], axis=1)
    made = Standardiser.fit(flat, present, True)
    assert made.axes.shape == (7, 6)
    assert made.upright.axes.shape == (7, 7)
    np.testing.assert_allclose(
        made.upright(flat, present) @ made.upright(flat, present).T,
        made(flat, present) @ made(flat, present).T, atol=2e-2,
    )  # fmt: skip
