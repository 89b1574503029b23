"""Generated items: beams against exact likelihoods, and what lists leave of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.data.histories import Histories
from p5mm.fusion.item import ItemTokens
from p5mm.model.batches import history_batch
from p5mm.model.item_codes import ItemCodes
from p5mm.model.layers import T5Config
from p5mm.model.network import Network
from p5mm.model.relation_reader import RelationReader
from p5mm.model.t5 import T5
from p5mm.ranking.decoding import Paths
from p5mm.ranking.generator import Generator
from p5mm.retrieval.codes import fit_codes

ITEMS, D, PROMPT = 30, 16, [0, 5, 6]
LISTS = [[3, 4, 5], [], [21, 22, 23, 24, 25, 1], [7]]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def network_of(items, levels=3, size=4):
    """Random weights everywhere; the last item has nothing known of it, the one before no taker."""
    torch.manual_seed(0)
    trained = torch.arange(items) < max(1, items - 2)
    tokens = ItemTokens(None, {}, {}, trained, D, 1, 0.1)
    sizes = T5Config.nano(D, 2, 0.1, 30, decoder_layers=2)
    network = Network(tokens, T5(sizes), 0.2, RelationReader(3, 3, 4, sizes))
    vectors = torch.nn.functional.normalize(torch.randn(items, D), dim=-1)
    vectors[min(4, items - 1)] = vectors[min(3, items - 1)]  # two items of one code
    codes = fit_codes(vectors.numpy(), levels, size)
    digits = codes.unique(vectors.numpy(), [f"i{row:02d}" for row in range(items)])
    digits[~trained.numpy()] = -1
    network.codes = ItemCodes(torch.from_numpy(codes.codebooks), torch.from_numpy(digits))
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return network_of(ITEMS)


@pytest.fixture(scope="module")
def generator(network):
    return Generator.of(network)


def read(network, lists):
    with torch.inference_mode():
        return network.encode(network.items(), history_batch(Histories.from_lists(lists), 8))


def every(lists):
    return torch.arange(ITEMS - 2).expand(len(lists), -1)


def test_a_beam_as_wide_as_the_catalog_is_the_likelihood_order(network, generator):
    encoded = read(network, LISTS)
    exact = generator.likelihood(encoded, PROMPT, every(LISTS))
    rows, scores = generator.beam(encoded, PROMPT, ITEMS)
    assert rows.shape == (len(LISTS), ITEMS - 2)
    torch.testing.assert_close(scores, exact.gather(1, rows), **CLOSE)
    torch.testing.assert_close(scores, exact.sort(descending=True).values, **CLOSE)


def test_a_beam_says_the_likelihood_of_what_it_finds(network, generator):
    encoded = read(network, LISTS)
    rows, scores = generator.beam(encoded, PROMPT, 5)
    torch.testing.assert_close(scores, generator.likelihood(encoded, PROMPT, rows), **CLOSE)
    assert all(len(set(line)) == 5 for line in rows.tolist())


def test_cached_paths_are_the_decoder_in_one_pass(network):
    encoded = read(network, LISTS)
    codes, items = network.known_codes, torch.tensor([[0, 3], [4, 9], [1, 1], [20, 2]])
    digits = codes.digits[items][..., : codes.levels]
    seen = encoded.seen_until(encoded.lengths[:, None]).expand(-1, 2, -1)
    with torch.inference_mode():
        whole = network.code_states(encoded, seen, PROMPT, digits)
        paths = Paths.start(network.t5, encoded, PROMPT, codes.levels)
        parents = torch.zeros(len(LISTS), 2, dtype=torch.int64)
        for level in range(codes.levels):
            expected = whole[:, :, len(PROMPT) - 1 + level]
            torch.testing.assert_close(paths.states.expand_as(expected), expected, **CLOSE)
            paths = paths.onward(parents, codes.read(digits[..., : level + 1])[:, :, -1])
            parents = torch.arange(2).expand(len(LISTS), -1)
        torch.testing.assert_close(paths.states, whole[:, :, -1], **CLOSE)


def test_a_batch_answers_as_each_alone(network, generator):
    rows, scores = generator.beam(read(network, LISTS), PROMPT, 6)
    for line, history in enumerate(LISTS):
        alone, score = generator.beam(read(network, [history]), PROMPT, 6)
        assert alone[0].tolist() == rows[line].tolist()
        torch.testing.assert_close(score[0], scores[line], **CLOSE)


@settings(max_examples=25)
@given(st.integers(1, 12), st.sets(st.integers(0, ITEMS - 1)), st.sets(st.integers(0, ITEMS - 1)))
def test_lists_leave_as_many_as_there_are(network, generator, width, denied, allowed):
    encoded = read(network, LISTS[:1])
    deny, allow = torch.tensor([[*denied, -1]]), torch.tensor([[*allowed, -1]])
    coded = set(range(ITEMS - 2))
    for lists, left in (
        ((None, deny), coded - denied),
        ((allow, None), coded & allowed),
        ((allow, deny), (coded & allowed) - denied),
    ):
        rows, scores = generator.beam(encoded, PROMPT, width, *lists)
        found = [row for row in rows[0].tolist() if row >= 0]
        assert len(found) == len(set(found)) == min(width, len(left))
        assert set(found) <= left
        assert (rows[0, len(found) :] == -1).all()
        assert torch.isinf(scores[0, len(found) :]).all()


def test_what_a_list_leaves_keeps_its_likelihood(network, generator):
    encoded = read(network, LISTS)
    whole = generator.likelihood(encoded, PROMPT, every(LISTS))
    deny = torch.tensor([[0, 1, 2]]).expand(len(LISTS), -1)
    rows, scores = generator.beam(encoded, PROMPT, ITEMS, denied=deny)
    torch.testing.assert_close(scores[:, :-3], whole.gather(1, rows[:, :-3]), **CLOSE)
    assert (rows[:, -3:] == -1).all()


def test_seen_items_are_no_candidates(network, generator):
    found = generator.find(read(network, LISTS), PROMPT, Histories.from_lists(LISTS), 28, 28)
    for line, history in zip(found.tolist(), LISTS, strict=True):
        assert set(line) - {-1} == set(range(ITEMS - 2)) - set(history)
    again = generator.find(read(network, LISTS), PROMPT, None, 28, 28)
    assert (again >= 0).all()


def test_a_short_list_begins_a_long_one(network, generator):
    encoded, seen = read(network, LISTS), Histories.from_lists(LISTS)
    lists = [generator.find(encoded, PROMPT, seen, count, 6) for count in (4, 6, 15, 28)]
    for short, long in pairwise(lists):
        np.testing.assert_array_equal(long[:, : short.shape[1]], short)
    for line, history in zip(lists[-1].tolist(), LISTS, strict=True):
        left = set(range(ITEMS - 2)) - set(history)
        assert sorted(row for row in line if row >= 0) == sorted(left)


def test_only_some_items_are_generated(network, generator):
    some = generator.among(np.array([2, 7, 11, ITEMS - 1]))
    rows, scores = some.beam(read(network, LISTS), PROMPT, 10)
    assert [set(line) for line in rows.tolist()] == [{2, 7, 11}] * len(LISTS)
    whole = generator.likelihood(read(network, LISTS), PROMPT, rows[:, :3])
    torch.testing.assert_close(scores[:, :3], whole, **CLOSE)


def test_a_handicap_lowers_what_nobody_took():
    network = network_of(ITEMS)
    network.items.trained[0] = False
    network.items.present = torch.ones(ITEMS, 1, dtype=torch.bool)
    encoded = read(network, LISTS)
    plain, lowered = (
        Generator.of(network).handicapped(by).likelihood(encoded, PROMPT, every(LISTS))
        for by in (0.0, 3.0)
    )
    torch.testing.assert_close(lowered[:, 0], plain[:, 0] - 3, **CLOSE)
    torch.testing.assert_close(lowered[:, 1:], plain[:, 1:], **CLOSE)


def test_however_high_a_handicap_what_is_left_comes():
    network = network_of(ITEMS)
    network.items.present = torch.arange(ITEMS)[:, None] < ITEMS - 2
    network.items.trained[3:] = False
    lowered = Generator.of(network).handicapped(1e6)
    rows, scores = lowered.beam(read(network, LISTS), PROMPT, 20)
    assert [set(line[:3]) for line in rows.tolist()] == [{0, 1, 2}] * len(LISTS)
    assert all(len(set(line)) == 20 for line in rows.tolist())
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("levels", [1, 2])
def test_few_levels(levels):
    network = network_of(ITEMS, levels)
    generator, encoded = Generator.of(network), read(network, LISTS)
    scores = generator.beam(encoded, PROMPT, ITEMS)[1]
    exact = generator.likelihood(encoded, PROMPT, every(LISTS))
    torch.testing.assert_close(scores, exact.sort(descending=True).values, **CLOSE)


def test_a_catalog_of_one_item():
    network = network_of(1)
    generator, encoded = Generator.of(network), read(network, [[0], []])
    rows, scores = generator.beam(encoded, PROMPT, 5)
    assert rows.tolist() == [[0], [0]]
    torch.testing.assert_close(scores, generator.likelihood(encoded, PROMPT, rows), **CLOSE)
    nothing = generator.find(encoded, PROMPT, Histories.from_lists([[0], [0]]), 5, 5)
    assert nothing.tolist() == [[-1], [-1]]


def test_items_without_a_code_have_no_likelihood(network, generator):
    encoded = read(network, LISTS[:1])
    scores = generator.likelihood(encoded, PROMPT, torch.tensor([[0, ITEMS - 1]]))
    assert torch.isinf(scores[0, 1])
    assert torch.isfinite(scores[0, 0])


def test_nobody_asks(network, generator):
    none = replace(read(network, [[1]]), lengths=torch.empty(0, dtype=torch.int64))
    found = generator.find(none, PROMPT, Histories.from_lists([]), 5, 5)
    assert found.shape == (0, 5)
