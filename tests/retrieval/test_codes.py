import numpy as np
import pytest

from p5mm.errors import InputError
from p5mm.retrieval.codes import Codes, fit_codes


def vectors_of(n=400, d=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


IDS = [f"i{row:03d}" for row in range(400)]


def test_fit_is_deterministic_and_assign_stable():
    vectors = vectors_of()
    codes, again = fit_codes(vectors, 3, 16, seed=1), fit_codes(vectors, 3, 16, seed=1)
    np.testing.assert_array_equal(codes.codebooks, again.codebooks)
    digits = codes.assign(vectors)
    assert digits.shape == (400, 3)
    assert digits.min() >= 0
    assert digits.max() < 16
    np.testing.assert_array_equal(codes.assign(vectors[::-1]), digits[::-1])


def test_each_level_brings_the_code_nearer():
    vectors = vectors_of()
    codes = fit_codes(vectors, 4, 16)
    digits, point, last = codes.assign(vectors), np.zeros_like(vectors), np.inf
    for level in range(4):
        point += codes.codebooks[level][digits[:, level]]
        error = ((vectors - point) ** 2).mean()
        assert error < last
        last = error


def test_assign_is_the_nearest_centroid_at_every_level():
    vectors, new = vectors_of(), vectors_of(20, seed=5)
    codes = fit_codes(vectors, 2, 8)
    rest, digits = new.astype(np.float64), codes.assign(new)
    for level, book in enumerate(codes.codebooks.astype(np.float64)):
        distance = ((rest[:, None] - book[None]) ** 2).sum(-1)
        np.testing.assert_array_equal(digits[:, level], distance.argmin(1))
        rest = rest - book[digits[:, level]]


def test_resolved_codes_are_unique_whatever_the_order():
    vectors = vectors_of()
    vectors[10:20] = vectors[9]
    codes = fit_codes(vectors, 2, 4)
    unique = codes.unique(vectors, IDS)
    assert len(np.unique(unique, axis=0)) == 400
    np.testing.assert_array_equal(unique[:, :2], codes.assign(vectors))
    order = np.random.default_rng(1).permutation(400)
    shuffled = codes.unique(vectors[order], [IDS[row] for row in order])
    np.testing.assert_array_equal(shuffled, unique[order])


def test_report_counts():
    codes = Codes(np.array([[[0.0], [10.0]]], dtype=np.float32))
    report = codes.report(np.array([[0], [1], [9], [2]], dtype=np.float32), ["a", "b", "c", "d"])
    assert (report.used, report.colliding, report.largest, report.colliding_after) == (
        (2,),
        3,
        3,
        0,
    )
    assert report.entropy[0] == pytest.approx(0.8113, abs=1e-4)
    assert "3 of 4 items share a code" in str(report)


def test_few_items_clip_the_size(tmp_path):
    codes = fit_codes(vectors_of(5), levels=2, size=256)
    assert codes.codebooks.shape == (2, 5, 12)
    codes.save(tmp_path / "codes.safetensors")
    np.testing.assert_array_equal(
        Codes.load(tmp_path / "codes.safetensors").codebooks, codes.codebooks
    )


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="finite vectors"):
        fit_codes(np.full((3, 2), np.nan, dtype=np.float32))
    with pytest.raises(InputError, match="at least 1"):
        fit_codes(vectors_of(5), levels=0)
    with pytest.raises(InputError, match=r"\[n, 12\]"):
        fit_codes(vectors_of(5)).assign(vectors_of(5, 3))
    (tmp_path / "x").write_text("no codes")
    with pytest.raises(InputError, match="holds no codebooks"):
        Codes.load(tmp_path / "x")
