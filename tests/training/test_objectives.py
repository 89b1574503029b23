"""The loss of a step, against the same computed one example at a time."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from p5mm.config import RatingConfig
from p5mm.data.histories import Histories
from p5mm.fusion.base import fusions
from p5mm.fusion.item import ItemTokens
from p5mm.model.batches import last_batches, scaled, training_batches
from p5mm.model.layers import T5Config
from p5mm.model.network import Network
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.relation_reader import RelationReader
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import ITEM
from p5mm.training.ranking_cases import RankingCases
from p5mm.training.retrieval_objective import RetrievalObjective
from p5mm.training.task_objective import (
    Task,
    TaskObjective,
    draw_positions,
    nearest_level,
    ranking_loss,
)

N, D = 10, 16
LISTS = [[0, 1, 2, 3], [4, 5], [6, 7, 0]]
RANK = Task("sequential", 0.5, [[0, 3, 4]])
DIRECT = Task("direct", 0.25, [[0, 5]])
RATING = Task("rating", 2.0, [[0, ITEM, 6], [0, 7, ITEM]], [10, 11, 12])


@pytest.fixture
def network():
    torch.manual_seed(0)
    content = {"text": torch.randn(N, 4)}, {"text": torch.ones(N, dtype=torch.bool)}
    trained = torch.arange(N) < 8  # items 8 and 9 were never taken
    items = ItemTokens(fusions.get("gate")({"text": 4}, D, 1), *content, trained, D, 1, 0.0)
    sizes = T5Config.nano(D, 1, 0.0, 20)
    made = Network(items, T5(sizes), 0.0625, RelationReader(3, 3, 4, sizes))
    torch.nn.init.normal_(made.rank_head.weight)
    return made.eval()


def one_batch(ratings=None):
    log = Histories.from_lists(LISTS)
    if ratings is not None:
        log = replace(log, ratings=ratings)
    (batch,) = training_batches(log, 8, 100, 0, 0)
    return batch


def objective(negatives=0):
    return RetrievalObjective(negatives, (3.0, 2.0))


def ranking_cases(count=5):
    made = torch.Generator().manual_seed(1)
    logits = torch.randn(count, 6, generator=made)
    logits[:1, 4:] = -math.inf  # a request with fewer candidates
    facts, relations = torch.randn(count, 6, 3), torch.randn(count, 6, 4, 3).half()
    targets = torch.arange(count) % 4
    return RankingCases(logits, facts, relations, torch.arange(count), targets)


def tasks_of(network, *tasks, requests=6, candidates=4, levels=(1.0, 3.0, 5.0)):
    cases = ranking_cases()
    return TaskObjective.of(network, tasks, requests, candidates, cases, cases, levels, (3.0, 2.0))


def by_hand(network, drawn=None):
    """Mean over all prefixes of the softmax over the trained items, or over drawn ones."""
    tokens = network.items()
    vectors = F.normalize(tokens.mean(1), dim=-1)[:8]
    losses = []
    for items in LISTS:
        x = network.history(tokens, torch.tensor([items]), torch.full((1, len(items)), math.nan))
        states = F.normalize(network.t5.encoder(x, causal=True)[0], dim=-1)
        logits = states[: len(items)] @ vectors.T / 0.0625
        for row, target in zip(logits, items, strict=True):
            others = range(8) if drawn is None else drawn
            correction = 0.0 if drawn is None else math.log(len(drawn) / 8)
            rivals = [row[target], *(row[i] - correction for i in others if i != target)]
            losses.append(torch.stack(rivals).logsumexp(0) - row[target])
    return torch.stack(losses).mean()


@torch.no_grad()
def test_retrieval_is_the_full_softmax_at_every_prefix(network):
    loss, parts = objective()(network, one_batch())
    torch.testing.assert_close(loss, by_hand(network), atol=1e-4, rtol=1e-4)
    assert parts == {"loss": pytest.approx(float(loss))}


@torch.no_grad()
def test_shared_negatives_are_corrected_and_enough_of_them_are_the_full_softmax(network):
    torch.manual_seed(0)
    found = float(objective(negatives=1)(network, one_batch())[0])
    torch.manual_seed(0)
    drawn = torch.randint(8, (1,)).tolist()
    assert found == pytest.approx(float(by_hand(network, drawn)), rel=1e-4)
    torch.testing.assert_close(
        objective(negatives=2)(network, one_batch())[0], by_hand(network), atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
def test_items_never_taken_are_no_negatives(network):
    before = objective()(network, one_batch())[0]
    network.items.content_text[8:] += 100.0
    torch.testing.assert_close(objective()(network, one_batch())[0], before)


@pytest.mark.parametrize("task", [RANK, DIRECT, RATING])
def test_a_task_trains_the_decoder_and_leaves_the_retriever_alone(network, task):
    ratings = torch.tensor([1, 3, 5, 5, 1, 3, 5, 3, 1]).float().numpy()
    loss, parts = tasks_of(network, task)(network, one_batch(ratings))
    assert parts == {"loss": pytest.approx(float(loss.detach())), task.family: parts["loss"]}
    loss.backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    assert any(p.grad is not None for p in network.t5.decoder.parameters())
    for part in (network.items, network.history, network.t5.encoder):
        assert all(p.grad is None for p in part.parameters())


def test_each_step_draws_one_task(network):
    made, drawn = tasks_of(network, RANK, DIRECT), set()
    for seed in range(20):
        torch.manual_seed(seed)
        drawn |= {tuple(made(network, one_batch())[1])}
    assert drawn == {("loss", "sequential"), ("loss", "direct")}


def test_rating_is_left_out_where_nobody_rates(network):
    loss, parts = tasks_of(network, RATING)(network, one_batch())
    assert parts == {}
    loss.backward()


@torch.no_grad()
@pytest.mark.parametrize("held_out", [False, True])
def test_ratings_add_to_the_prior_which_has_not_seen_the_training_target(network, held_out):
    levels, scale = (1.0, 3.0, 5.0), (3.0, 2.0)
    ratings = torch.tensor([1, 3, 5, 5, 1, 3, 5, 3, 1]).float().numpy()
    log = replace(Histories.from_lists(LISTS), ratings=ratings)
    network.rating_prior = RatingPrior.of(log, N, scale, levels, RatingConfig())
    batch = scaled(one_batch(ratings), scale)
    positions = torch.ones(len(LISTS), 1, dtype=torch.int64)
    made = tasks_of(network, RATING, levels=levels)
    found = made.prior(network, batch, positions, held_out)
    seen = replace(log, ratings=ratings.copy())
    for row in range(len(LISTS)):
        target = int(batch.targets[row, 1])
        own = next(u for u, items in enumerate(LISTS) if target in items[1:2])
        seen.ratings[:] = ratings
        if not held_out:
            seen.ratings[log.offsets[own] + 1] = math.nan
        item = RatingPrior.of(seen, N, scale, levels, RatingConfig()).item(torch.tensor(target))
        mean = item + network.rating_prior.leaning(batch)[row, 1]
        expected = mean * network.rating_prior.slopes + network.rating_prior.offsets
        torch.testing.assert_close(found[row, 0], expected)


@torch.no_grad()
def test_a_held_out_item_that_was_never_taken_is_no_example(network):
    known = Histories.from_lists([[0, 1], [2, 3]])
    strange = Histories.from_lists([[0, 1], [2, 3], [4, 9]])
    made = tasks_of(network, DIRECT)
    losses = [
        made.validate(network, [*last_batches(log, 8, 1)][:2])["direct"] for log in (known, strange)
    ]
    assert losses[0] == losses[1]
    assert made.validate(network, [*last_batches(strange, 8, 1)][2:]) == {"score": 0.0}


def test_validation_draws_the_same_each_time_and_leaves_the_generator_alone(network):
    made = tasks_of(network, RANK, DIRECT)
    batches = list(last_batches(Histories.from_lists(LISTS), 8, 2))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = (made.validate(network, batches) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    mean = (0.5 * first["sequential"] + 0.25 * first["direct"]) / 0.75
    assert first["score"] == pytest.approx(-mean)


@torch.no_grad()
def test_ranking_is_one_softmax_over_all_candidates_with_the_retriever_s_logit(network):
    cases = ranking_cases()
    cases = cases.take(torch.arange(len(cases)))
    loss = ranking_loss(network, RANK.prompts[0], cases)
    expected = []
    for row in range(len(cases)):
        one = cases.take(torch.tensor([row]))
        said = network.rerank(RANK.prompts[0], one.facts, one.relations, one.lengths)[0]
        logits = said + one.logits[0]
        expected.append(logits[logits.isfinite()].logsumexp(0) - logits[int(one.targets)])
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_without_cases_nothing_is_learned_of_ranking(network):
    made = replace(tasks_of(network, RANK), cases=ranking_cases(0), held_out=ranking_cases(0))
    loss, parts = made(network, one_batch())
    assert parts == {}
    assert not loss
    assert made.validate(network, []) == {"score": 0.0}


@torch.no_grad()
def test_candidates_are_the_target_and_items_not_read(network):
    task = DIRECT
    made, shown = tasks_of(network, task, requests=12, candidates=4), []
    means = network.items()[:8].mean(1)

    def nothing(encoded, seen, prompt, tokens):
        shown.append((tokens[..., None, :] - means).norm(dim=-1).argmin(-1))
        return torch.zeros(tokens.shape[:3])

    network.rank = nothing
    batch = one_batch()
    encoded = network.encode(made.tokens, batch)
    positions = torch.tensor([[1], [1], [1]])
    targets = batch.targets.gather(1, positions)
    drawn = [set() for _ in range(3)]
    for seed in range(40):
        torch.manual_seed(seed)
        logits = made.choice(network, encoded, batch, positions, targets, task.prompts[0])
        items = shown[-1][:, 0]
        assert items[:, 0].tolist() == targets[:, 0].tolist()
        for row, (kept, candidates) in enumerate(zip(logits[:, 0].isfinite(), items, strict=True)):
            assert kept[0]
            drawn[row] |= set(candidates[1:][kept[1:]].tolist())
    read = [set(r[:n].tolist()) for r, n in zip(batch.rows, batch.lengths, strict=True)]
    free = [set(range(8)) - r - set(t) for r, t in zip(read, targets.tolist(), strict=True)]
    assert drawn == free


@torch.no_grad()
def test_a_small_catalog_gives_fewer_candidates(network):
    network.items.trained &= torch.arange(N) < 6
    log = Histories.from_lists([[0, 1], [2, 3]])
    (batch,) = training_batches(log, 8, 100, 0, 0)
    loss, parts = tasks_of(network, RANK, DIRECT, candidates=50)(network, batch)
    assert loss.isfinite()
    assert len(parts) == 2


def test_positions_are_drawn_among_the_known_ones():
    torch.manual_seed(0)
    known = torch.tensor([[True, False, True, True], [False, False, True, False]])
    drawn = set()
    for _ in range(30):
        places, real = draw_positions(known, 2)
        assert places.shape == real.shape == (2, 2)
        assert real.sum(1).tolist() == [2, 1]
        assert known.gather(1, places)[real].all()
        drawn |= set(places[0].tolist())
    assert drawn == {0, 2, 3}
    assert draw_positions(known, 9)[0].shape == (2, 4)


def test_nearest_level():
    ratings = torch.tensor([0.0, 1.9, 2.1, 9.0, math.nan])
    assert nearest_level(ratings, (1.0, 3.0, 5.0)).tolist() == [0, 0, 1, 2, 0]
