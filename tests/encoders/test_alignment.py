import numpy as np
import pytest
import torch

from p5mm.encoders import alignment
from p5mm.encoders.alignment import Alignment, train_alignment
from p5mm.encoders.base import Features
from p5mm.errors import InputError


def features(modality, vectors, present=None):
    present = np.ones(len(vectors), dtype=bool) if present is None else present
    return Features(modality, "fake", "f", vectors.astype(np.float32), present)


def pairs(n=400, seed=0):
    """Two views of six hidden causes, each through its own random map, with noise."""
    rng = np.random.default_rng(7)
    maps = rng.normal(size=(6, 40)), rng.normal(size=(6, 24))
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(n, 6))
    return [np.tanh(cause @ m) + 0.1 * rng.normal(size=(n, m.shape[1])) for m in maps]


@pytest.fixture(scope="module")
def trained():
    image, text = pairs()
    return train_alignment(features("image", image), features("text", text), seed=1)


def test_it_learns_far_above_chance(trained):
    assert trained.report.pairs == 400
    assert trained.report.held_out == 80
    assert trained.report.recall_at_1 > 0.5
    assert "400 pairs" in str(trained.report)


def test_the_report_holds_for_items_never_seen(trained):
    image, text = (x.astype(np.float32) for x in pairs(80, seed=9))
    scores = trained.project("text", text) @ trained.project("image", image).T
    own_first = (scores.argmax(axis=1) == np.arange(80)).mean()
    assert own_first == pytest.approx(trained.report.recall_at_1, abs=0.2)


def test_no_link_no_recall():
    image, _ = pairs()
    _, other = pairs(seed=3)
    report = train_alignment(features("image", image), features("text", other)).report
    assert report.recall_at_1 < 0.1
    assert report.weak


def test_ridges_are_those_that_suit_the_pairs(trained, monkeypatch):
    """Beside each of them alone, on pairs never seen; noise wants more than none."""
    rng = np.random.default_rng(5)
    cause, maps = rng.normal(size=(700, 4)), [rng.normal(size=(4, d)) for d in (300, 100)]
    image, text = (cause @ m + 6 * rng.normal(size=(700, m.shape[1])) for m in maps)
    image, text = image.astype(np.float32), text.astype(np.float32)

    def worth():
        heads = train_alignment(features("image", image[:400]), features("text", text[:400]))
        scores = heads.project("text", text[400:]) @ heads.project("image", image[400:]).T
        ranks = (scores > scores.diagonal()[:, None]).sum(axis=1) + 1
        return (1 / ranks).mean()

    chosen, alone = worth(), []
    for ridges in alignment.RIDGES:
        monkeypatch.setattr(alignment, "RIDGES", (ridges,))
        alone.append(worth())
    assert chosen >= 0.9 * max(alone)
    assert chosen > 1.1 * min(alone)


def test_the_median_rank_is_told(trained):
    assert trained.report.median_rank >= 1
    assert not trained.report.weak
    assert f"half within {trained.report.median_rank:,.0f}" in str(trained.report)


def test_projections_have_unit_length_and_survive_saving(trained, tmp_path):
    image = pairs()[0].astype(np.float32)
    projected = trained.project("image", image)
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, rtol=1e-5)
    trained.save(tmp_path / "a.safetensors")
    again = Alignment.load(tmp_path / "a.safetensors")
    assert again.report == trained.report
    np.testing.assert_array_equal(again.project("image", image), projected)


def test_same_seed_same_heads_and_the_global_generator_is_left_alone(trained):
    image, text = pairs()
    state = torch.get_rng_state()
    again = train_alignment(features("image", image), features("text", text), seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    sample = image[:5].astype(np.float32)
    np.testing.assert_array_equal(again.project("image", sample), trained.project("image", sample))


def test_only_pairs_train():
    image, text = pairs()
    present = np.arange(400) < 300
    broken = text.copy()
    broken[300:] = np.nan
    report = train_alignment(features("image", image), features("text", broken, present)).report
    assert report.pairs == 300


def test_bad_input(trained, tmp_path):
    image, text = pairs(30)
    with pytest.raises(InputError, match=r"only 30 items have both.*open_clip"):
        train_alignment(features("image", image), features("text", text))
    with pytest.raises(InputError, match="same items"):
        train_alignment(features("image", image), features("text", text[:20]))
    with pytest.raises(InputError, match=r"\[n, 40\]"):
        trained.project("image", np.ones((2, 3), dtype=np.float32))
    with pytest.raises(InputError, match="unknown side"):
        trained.project("sound", np.ones((2, 3), dtype=np.float32))
    (tmp_path / "x").write_text("nothing")
    with pytest.raises(InputError, match="holds no alignment"):
        Alignment.load(tmp_path / "x")
