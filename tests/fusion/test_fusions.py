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
    return randomised(fusions.get(name)(DIMS, 8, request.param))


def randomised(made):
    """The fusion away from zeros, so that every path counts."""
    for parameter in made.parameters():
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


def test_soft_tokens_of_an_item_differ_from_its_first_step_on(name):
    torch.manual_seed(0)
    for dims in (DIMS, {"text": 3}):
        given = {one: torch.randn(2, dim) for one, dim in dims.items()}
        made = fusions.get(name)(dims, 8, 3)
        tokens = made(given, torch.ones(2, len(dims), dtype=torch.bool))
        apart = torch.cdist(tokens, tokens)[:, ~torch.eye(3, dtype=torch.bool)]
        assert apart.min() > 0.1 * tokens.norm(dim=-1).mean()


@pytest.mark.parametrize("name", ["attention", "gate"])
@pytest.mark.parametrize("k", [1, 3])
def test_the_order_of_modalities_does_not_matter(name, k):
    one = randomised(fusions.get(name)(DIMS, 8, k))
    order = [2, 0, 1]
    names = [list(DIMS)[i] for i in order]
    other = fusions.get(name)({n: DIMS[n] for n in names}, 8, k)
    other.load_state_dict(one.state_dict())
    expected = one(vectors(), PRESENT)
    torch.testing.assert_close(other(vectors(), PRESENT[:, order]), expected)


@pytest.mark.parametrize("k", [1, 3])
def test_attention_is_an_average_over_what_is_present(k):
    fusion = randomised(fusions.get("attention")(DIMS, 8, k))
    given, found = vectors(), fusion(vectors(), PRESENT)
    for item in range(3):
        names = [n for i, n in enumerate(DIMS) if PRESENT[item, i]]
        for token in range(k):
            logits = [fusion.query[token] @ fusion.key[n](given[n][item]) / 8**0.5 for n in names]
            weights = torch.stack(logits).softmax(0)
            values = [fusion.value[n](given[n][item]).view(k, 8)[token] for n in names]
            expected = sum(w * v for w, v in zip(weights, values, strict=True))
            torch.testing.assert_close(found[item, token], expected)


def test_gates_sum_to_one_over_what_is_present():
    fusion = randomised(fusions.get("gate")(DIMS, 8, 2))
    given, found = vectors(), fusion(vectors(), PRESENT)
    for item in range(3):
        names = [n for i, n in enumerate(DIMS) if PRESENT[item, i]]
        projected = [fusion.project[n](given[n][item]) for n in names]
        scores = [fusion.score[n](p) for n, p in zip(names, projected, strict=True)]
        gates = torch.cat(scores).softmax(0)
        expected = sum(g * p for g, p in zip(gates, projected, strict=True)).view(2, 8)
        torch.testing.assert_close(found[item], expected)


def test_concat_is_one_map_of_all_with_learned_vectors_for_the_absent():
    fusion = randomised(fusions.get("concat")(DIMS, 8, 2))
    given, found = vectors(), fusion(vectors(), PRESENT)
    for item in range(3):
        parts = [
            given[n][item] if PRESENT[item, i] else fusion.absent[n] for i, n in enumerate(DIMS)
        ]
        torch.testing.assert_close(found[item], fusion.project(torch.cat(parts)).view(2, 8))


def test_the_built_in_names():
    assert {"attention", "concat", "gate"} <= set(fusions.names())


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(InputError, match="did you mean 'gate'"):
        fusions.get("gaet")


def test_the_base_class_mixes_nothing():
    with pytest.raises(TypeError, match="must define forward"):
        Fusion(DIMS, 8, 1)(vectors(), PRESENT)
