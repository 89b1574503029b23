import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.model.content import Content

NEW = np.arange(60, 67)


def features(name, n=60, dim=4, seed=0, absent=5, fingerprint=None):
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    present = np.arange(n) >= absent
    return Features(name, f"toy {name}", fingerprint or f"{name} 1", vectors, present)


def made(**options):
    both = [features("image", **options), features("text", dim=3, seed=1, absent=9)]
    return Content.of(both, 60, whiten=False)


def multiset(vectors):
    return sorted(map(tuple, vectors.tolist()))


def assert_same(one, other):
    assert one.fingerprints == other.fingerprints
    for name in one.vectors:
        np.testing.assert_array_equal(one.vectors[name], other.vectors[name])
        np.testing.assert_array_equal(one.present[name], other.present[name])


def test_real_and_nothing_are_the_identity():
    content = made()
    assert_same(content.ablated({"image": "real", "text": "real"}), content)
    assert_same(content.ablated({}), content)


def test_zero_makes_every_item_lack_the_modality_and_leaves_the_others():
    content = made()
    zero = content.ablated({"image": "zero"})
    assert not zero.present["image"].any()
    assert not zero.vectors["image"].any()
    assert zero.dims == content.dims
    assert zero.fingerprints == {"image": "image 1:zero", "text": "text 1"}
    np.testing.assert_array_equal(zero.vectors["text"], content.vectors["text"])
    assert zero.present["text"].tolist() == content.present["text"].tolist()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40))
def test_shuffled_keeps_the_vectors_and_moves_each_to_another_item(seed, n):
    content = Content.of([features("image", n=n + 5)], n + 5, whiten=False)
    shuffled = content.ablated({"image": "shuffled"}, seed)
    present = content.present["image"]
    before, after = content.vectors["image"], shuffled.vectors["image"]
    assert shuffled.present["image"].tolist() == present.tolist()
    assert multiset(after) == multiset(before)
    assert (before != after).any(axis=1)[present].all()
    assert not after[~present].any()


def test_shuffling_hangs_on_the_seed_alone():
    content = made()
    one, again, other = (content.ablated({"image": "shuffled"}, seed) for seed in (3, 3, 4))
    assert_same(one, again)
    assert (one.vectors["image"] != other.vectors["image"]).any()


def test_shuffled_content_has_no_meaning_left():
    content = Content.of([features("image", n=2000, absent=0)], 2000, whiten=False)
    before = content.vectors["image"]
    after = content.ablated({"image": "shuffled"}).vectors["image"]
    assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.05


def test_the_content_given_is_not_changed():
    content = made()
    content.ablated({"image": "zero", "text": "shuffled"})
    assert_same(content, made())


def test_ablations_one_on_the_other():
    content = made()
    gone = content.ablated({"image": "zero"})
    assert_same(gone.ablated({"image": "shuffled"}), gone)
    assert_same(content.ablated({"image": "shuffled"}).ablated({"image": "zero"}), gone)
    twice = content.ablated({"image": "shuffled"}).ablated({"image": "shuffled"}, seed=1)
    assert twice.fingerprints["image"] == "image 1:shuffled"


@pytest.mark.parametrize(
    ("ablate", "message"),
    [
        ({"imge": "zero"}, "unknown modality to ablate 'imge'; did you mean 'image'"),
        ({"sound": "real"}, "Allowed: image, text"),
        ({"image": "shufled"}, r"did you mean 'shuffled'\? Allowed: real, shuffled, zero"),
    ],
)
def test_what_is_unknown_is_told(ablate, message):
    with pytest.raises(InputError, match=message):
        made().ablated(ablate)


@pytest.mark.parametrize("ablate", [{}, {"image": "zero"}, {"image": "zero", "text": "shuffled"}])
def test_ablated_content_is_saved_and_loaded(ablate, tmp_path):
    content = made().ablated(ablate)
    content.save(tmp_path / "c.safetensors")
    again = Content.load(tmp_path / "c.safetensors", 60, content.fingerprints)
    assert_same(again, content)
    new = [features("image", n=7, seed=5, absent=0)]
    assert_same(again.placed(new, NEW, 67), content.placed(new, NEW, 67))


def test_new_items_are_ablated_too():
    content = made()
    new = [features("image", n=7, seed=5, absent=2), features("text", n=7, dim=3, absent=0)]
    real = content.placed(new, NEW, 67)
    ablated = content.ablated({"image": "zero", "text": "shuffled"}).placed(new, NEW, 67)
    assert ablated.items == 67
    assert not ablated.present["image"].any()
    assert not ablated.vectors["image"].any()
    assert ablated.present["text"].tolist() == real.present["text"].tolist()
    known = set(multiset(content.vectors["text"][content.present["text"]]))
    assert set(multiset(ablated.vectors["text"][60:])) <= known
    assert not set(multiset(real.vectors["text"][60:])) & known


def test_new_items_of_another_encoder_are_refused_whatever_is_ablated():
    new = [features("image", n=7, fingerprint="image 2")]
    for ablate in ({}, {"image": "zero"}, {"image": "shuffled"}):
        with pytest.raises(InputError, match="made by another encoder"):
            made().ablated(ablate).placed(new, NEW, 67)


def test_upright_content_is_the_same_but_turned():
    given = [features("text", n=80, dim=6, seed=3), features("image", n=80)]
    plain, upright = (Content.of(given, 80, True, upright=turned) for turned in (False, True))
    for name, vectors in plain.vectors.items():
        turned = upright.vectors[name]
        np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-3)
        np.testing.assert_array_equal(upright.maps[name].axes, plain.maps[name].upright.axes)
