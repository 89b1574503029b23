"""What every registered fusion must keep to."""

import pytest
import torch

from p5mm.errors import InputError
from p5mm.fusion.base import Fusion, fusions

DIMS = {"image": 5, "text": 3, "sound": 4}
PRESENT = torch.tensor(
    [[True, True, True], [True, False, True], [False, False, True], [False, False, False]]
)


@pytest.fixture(params=fusions.names())
def name(request):
    return request.param


@pytest.fixture(params=[1, 3])
def fusion(name, request):
    torch.manual_seed(0)
    made = fusions.get(name)(DIMS, 8, request.param)
    for parameter in made.parameters():  # away from zeros, so that every path counts
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return made


def vectors(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(4, dim, generator=generator) for name, dim in DIMS.items()}


def test_k_tokens_of_width_d(fusion):
    assert fusion(vectors(), PRESENT).shape == (4, fusion.k, 8)
    none = {name: torch.zeros(0, dim) for name, dim in DIMS.items()}
    assert fusion(none, torch.zeros(0, 3, dtype=torch.bool)).shape == (0, fusion.k, 8)


def test_what_is_absent_does_not_matter(fusion):
    other = vectors(seed=2)
    mixed = {
        name: torch.where(PRESENT[:, i, None], vectors()[name], other[name] * 1e3)
        for i, name in enumerate(DIMS)
    }
    torch.testing.assert_close(fusion(mixed, PRESENT), fusion(vectors(), PRESENT))


def test_what_is_present_matters(fusion):
    base = fusion(vectors(), PRESENT)
    for i, name in enumerate(DIMS):
        moved = vectors() | {name: vectors()[name] + 1.0}
        changed = (fusion(moved, PRESENT) != base).flatten(1).any(1)
        assert changed.tolist() == PRESENT[:, i].tolist()


def test_absence_itself_differs_from_a_zero_vector(fusion):
    zeros = vectors() | {"text": torch.zeros(4, 3)}
    absent = PRESENT.clone()
    absent[0, 1] = False
    assert not torch.allclose(fusion(zeros, absent)[0], fusion(zeros, PRESENT)[0])


def test_an_item_without_any_modality_gets_zero_tokens(fusion):
    assert not fusion(vectors(), PRESENT)[3].any()


def test_items_do_not_mix(fusion):
    rows = torch.tensor([2, 0])
    some = fusion({n: v[rows] for n, v in vectors().items()}, PRESENT[rows])
    torch.testing.assert_close(some, fusion(vectors(), PRESENT)[rows])


def test_gradients_are_finite_with_absent_modalities(fusion):
    fusion(vectors(), PRESENT).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in fusion.parameters())
    assert any(p.grad.any() for p in fusion.parameters() if p.grad is not None)


def test_one_modality_alone(name):
    one = fusions.get(name)({"text": 3}, 8, 2)
    tokens = one({"text": torch.randn(2, 3)}, torch.tensor([[True], [False]]))
    assert tokens[0].any()
    assert not tokens[1].any()


def test_the_built_in_names():
    assert {"attention", "concat", "gate"} <= set(fusions.names())


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(InputError, match="did you mean 'gate'"):
        fusions.get("gaet")


def test_the_base_class_mixes_nothing():
    with pytest.raises(TypeError, match="must define forward"):
        Fusion(DIMS, 8, 1)(vectors(), PRESENT)
