"""Two heads on one encoder pass: what must not depend on what."""

import copy

import numpy as np
import pytest
import torch

from p5mm.data.histories import Histories
from p5mm.fusion.base import fusions
from p5mm.fusion.item import ItemTokens
from p5mm.model.batches import history_batch
from p5mm.model.layers import T5Config
from p5mm.model.network import Network
from p5mm.model.relation_reader import RelationReader, pooled
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import ITEM

ITEMS, D = 12, 16
PROMPT = [0, 5, 6]
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


@pytest.fixture(scope="module", params=[1, 3])
def network(request):
    """Random weights everywhere, also where training starts from zero."""
    torch.manual_seed(0)
    k = request.param
    content, present = {"text": torch.randn(ITEMS, 4)}, {"text": torch.arange(ITEMS) > 1}
    trained = torch.arange(ITEMS) < ITEMS - 1
    items = ItemTokens(fusions.get("gate")({"text": 4}, D, k), content, present, trained, D, k, 0.1)
    sizes = T5Config.nano(D, 2, 0.1, 30, 2)
    made = Network(items, T5(sizes), 0.0625, RelationReader(3, 3, 4, sizes))
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def read(network, lists, max_history=8, ratings=None):
    histories = Histories.from_lists(lists)
    if ratings is not None:
        rated = np.array(ratings, dtype=np.float32)
        histories = Histories(histories.items, histories.offsets, rated)
    return network.encode(network.items(), history_batch(histories, max_history))


def rank(network, encoded, candidates, positions=None):
    at = encoded.lengths[:, None] if positions is None else positions
    tokens = network.items().mean(1)[candidates]
    tokens = tokens[:, None] if tokens.ndim == 3 else tokens
    states = network.requests(encoded, encoded.seen_until(at), PROMPT, tokens, tokens[:, :, :0])
    return network.rank_head(states[:, :, len(PROMPT) :]).squeeze(-1)


@torch.no_grad()
def test_a_candidate_does_not_see_the_others(network):
    encoded = read(network, [[1, 2, 3]])
    together = rank(network, encoded, torch.tensor([[4, 5, 6, 7]]))[0, 0]
    turned = rank(network, encoded, torch.tensor([[7, 6, 5, 4]]))[0, 0]
    torch.testing.assert_close(turned.flip(0), together, **CLOSE)
    for place, item in enumerate([4, 5, 6, 7]):
        alone = rank(network, encoded, torch.tensor([[item]]))[0, 0, 0]
        torch.testing.assert_close(alone, together[place], **CLOSE)
    assert together.std() > 1e-3


@torch.no_grad()
def test_a_batch_equals_each_history_alone(network):
    lists = [[1, 2, 3, 4, 5], [], [6], [7, 8]]
    candidates = torch.tensor([[0, 9], [1, 2], [3, 4], [10, 11]])
    encoded = read(network, lists)
    scores = rank(network, encoded, candidates)
    for row, one in enumerate(lists):
        alone = read(network, [one])
        torch.testing.assert_close(alone.last[0], encoded.last[row], **CLOSE)
        torch.testing.assert_close(
            rank(network, alone, candidates[row : row + 1])[0], scores[row], **CLOSE
        )


@torch.no_grad()
def test_later_items_change_neither_earlier_queries_nor_requests(network):
    short, long = read(network, [[1, 2]]), read(network, [[1, 2, 3, 4]])
    other = read(network, [[1, 2, 9, 9]])
    torch.testing.assert_close(long.queries[:, :3], short.queries, **CLOSE)
    torch.testing.assert_close(other.queries[:, :3], short.queries, **CLOSE)
    assert not torch.allclose(other.last, long.last)
    candidates = torch.tensor([[5, 6]])
    after_two = rank(network, long, candidates, torch.tensor([[2]]))
    torch.testing.assert_close(after_two, rank(network, short, candidates), **CLOSE)


@torch.no_grad()
def test_many_requests_of_one_history_equal_each_alone(network):
    encoded = read(network, [[1, 2, 3], [4]])
    positions = torch.tensor([[0, 2, 3], [1, 0, 1]])
    candidates = torch.randint(ITEMS, (2, 3, 5))
    together = rank(network, encoded, candidates, positions)
    for m in range(3):
        one = slice(m, m + 1)
        alone = rank(network, encoded, candidates[:, one], positions[:, one])
        torch.testing.assert_close(alone[:, 0], together[:, m], **CLOSE)


@torch.no_grad()
def test_order_matters(network):
    encoded = read(network, [[1, 2, 3], [2, 1, 3]])
    assert not torch.allclose(encoded.last[0], encoded.last[1], atol=1e-4)


@torch.no_grad()
def test_only_the_last_items_are_read(network):
    whole, cut = read(network, [[9, 9, 1, 2]], max_history=2), read(network, [[1, 2]])
    torch.testing.assert_close(whole.last, cut.last)


@torch.no_grad()
def test_ratings_are_read(network):
    high, low = (read(network, [[1, 2]], ratings=[1.0, r]) for r in (2.0, -2.0))
    assert not torch.allclose(high.last, low.last)
    torch.testing.assert_close(
        read(network, [[1, 2]], ratings=[np.nan] * 2).last, read(network, [[1, 2]]).last
    )


@torch.no_grad()
def test_queries_and_vectors_have_unit_length(network):
    torch.testing.assert_close(read(network, [[1], []]).last.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(
        network.vectors(network.items())[:-1].norm(dim=1), torch.ones(ITEMS - 1)
    )


@torch.no_grad()
def test_answers_depend_on_history_and_item(network):
    k = network.items.k
    prompt = [0, 7, *[ITEM] * k, 8]
    encoded = read(network, [[1, 2], [3]])
    seen = encoded.seen_until(encoded.lengths[:, None])
    slots = network.items()[torch.tensor([[4], [4]])]
    logits = network.answer(encoded, seen, prompt, slots, [10, 11, 12])
    assert logits.shape == (2, 1, 3)
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)
    other = network.items()[torch.tensor([[5], [4]])]
    moved = network.answer(encoded, seen, prompt, other, [10, 11, 12])
    torch.testing.assert_close(moved[1], logits[1])
    assert not torch.allclose(moved[0], logits[0], atol=1e-4)


def test_an_untrained_reranker_says_nothing():
    items = ItemTokens(None, {}, {}, torch.ones(4, dtype=torch.bool), D, 1, 0.0)
    sizes = T5Config.nano(D, 1, 0.0, 30)
    fresh = Network(items, T5(sizes), 0.0625, RelationReader(3, 3, 4, sizes))
    scores = rank(fresh, read(fresh, [[1]]), torch.tensor([[2, 3]]))
    assert not scores.any()


def pair(seed, b=2, n=5, s=4):
    made = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([3, 0])[:b]
    relations = torch.randn(b, n, s, 3, generator=made)
    relations[torch.arange(s) >= lengths[:, None, None].expand(b, n, 1)] = 0
    return torch.randn(b, n, 3, generator=made), relations, lengths


@torch.no_grad()
def test_a_reranked_candidate_does_not_see_the_others(network):
    facts, relations, lengths = pair(0)
    scores = network.rerank(PROMPT, facts, relations, lengths)
    assert scores.std() > 1e-3
    for row in range(2):
        for place in range(5):
            one = (slice(row, row + 1), slice(place, place + 1))
            alone = network.rerank(PROMPT, facts[one], relations[one], lengths[row : row + 1])
            torch.testing.assert_close(alone[0, 0], scores[row, place], **CLOSE)


@torch.no_grad()
def test_what_a_history_does_not_have_is_not_read(network):
    facts, relations, lengths = pair(1)
    short = network.rerank(PROMPT, facts[:1], relations[:1, :, :3], lengths[:1])
    torch.testing.assert_close(
        network.rerank(PROMPT, facts, relations, lengths)[:1], short, **CLOSE
    )
    nothing = network.rerank(PROMPT, facts[1:], relations[1:, :, :1], lengths[1:])
    torch.testing.assert_close(
        network.rerank(PROMPT, facts, relations, lengths)[1:], nothing, **CLOSE
    )


@torch.no_grad()
def test_relations_their_places_and_facts_are_read(network):
    facts, relations, lengths = pair(2, b=1)
    scores = network.rerank(PROMPT, facts, relations, lengths)
    swapped = relations[:, :, [1, 0, 2, 3]]
    for changed in ((facts, relations * 2), (facts, swapped), (facts + 1, relations)):
        moved = network.rerank(PROMPT, *changed, lengths)
        assert (moved - scores).abs().min() > 1e-5


@torch.no_grad()
def test_the_t5_adds_to_what_the_numbers_say_alone(network):
    """The shallow network is one of two: either is left where the other says nothing."""
    facts, relations, lengths = pair(3)
    both = network.rerank(PROMPT, facts, relations, lengths)
    numbers = torch.cat([facts, pooled(relations)], dim=-1)
    numbers = (numbers - network.reader.mean) / network.reader.spread
    shallow = network.reader.shallow.layers(numbers)[..., 0]
    silent = copy.deepcopy(network)
    torch.nn.init.zeros_(silent.rank_head.weight)
    torch.nn.init.zeros_(silent.rank_head.bias)
    alone = silent.rerank(PROMPT, facts, relations, lengths)
    torch.testing.assert_close(alone, shallow, **CLOSE)
    assert (both - alone).abs().max() > 1e-3
    fresh = RelationReader(3, 3, 4, network.t5.config)
    assert not fresh.shallow(numbers).any()


@torch.no_grad()
def test_relation_attention_is_a_softmax_over_keys_and_biases(network):
    """By hand, one candidate and head at a time."""
    layer, attention = network.reader.layers[0], network.t5.decoder.block[0].layer[1].sublayer
    torch.nn.init.normal_(layer.bias.weight)
    h = torch.randn(1, 2, D)
    pairs, mask = torch.randn(1, 2, 4, 16), torch.zeros(1, 1, 1, 4)
    mask[..., 3] = -torch.inf
    found = layer(attention, h, pairs, mask)
    size = D // attention.heads
    for place in range(2):
        heads = []
        for head in range(attention.heads):
            own = slice(head * size, (head + 1) * size)
            query = attention.q(h[0, place])[own]
            keys = layer.keys(pairs[0, place])[:, own]
            logits = keys @ query + layer.bias(pairs[0, place])[:, head] + mask[0, 0, 0]
            heads.append(logits.softmax(0) @ layer.values(pairs[0, place])[:, own])
        torch.testing.assert_close(found[0, place], attention.o(torch.cat(heads)), **CLOSE)
