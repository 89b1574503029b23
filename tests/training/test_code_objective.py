"""The loss of codes by hand, what learns from it, and where codes come from."""

import numpy as np
import pytest
import torch

from p5mm.config import Config, RetrievalConfig, TrainConfig
from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.fusion.item import ItemTokens
from p5mm.model.batches import history_batch
from p5mm.model.layers import T5Config
from p5mm.model.network import Network
from p5mm.model.prompts import read_prompts
from p5mm.model.relation_reader import RelationReader
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import train_tokenizer
from p5mm.ranking.generator import Generator
from p5mm.training.code_objective import CodeObjective, fit_item_codes
from p5mm.training.task_objective import make_tasks

ITEMS, D, PROMPT = 20, 16, [0, 4]
LISTS = [[3, 4, 5, 6], [7, 1], [2, 2, 9]]


@pytest.fixture
def network():
    torch.manual_seed(0)
    trained = torch.ones(ITEMS, dtype=torch.bool)
    items = ItemTokens(None, {}, {}, trained, D, 1, 0.0)
    sizes = T5Config.nano(D, 1, 0.0, 20)
    made = Network(items, T5(sizes), 0.2, RelationReader(3, 3, 4, sizes))
    vectors = made.vectors(made.items()).detach()
    ids = [f"i{row:02d}" for row in range(ITEMS)]
    made.codes = fit_item_codes(vectors, trained, trained, ids, (2, 4), 0)
    for parameter in made.codes.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return made.eval()


def read(network, lists):
    batch = history_batch(Histories.from_lists(lists), 8)
    return network.encode(network.items(), batch)


def test_the_loss_tells_each_digit_from_those_that_items_have(network):
    """By hand: scores of single items, siblings found by looking."""
    positions, targets = (
        torch.tensor([[0, 2], [1, 2], [3, 1]]),
        torch.tensor([[0, 19], [5, 5], [7, 2]]),
    )
    with torch.no_grad():
        encoded = read(network, LISTS)
        loss = CodeObjective.of(network)(network, encoded, positions, targets, PROMPT)
    codes = network.codes
    for line in range(3):
        for at in range(2):
            code, seen = (
                codes.digits[targets[line, at]],
                encoded.seen_until(positions)[:, at : at + 1],
            )
            expected = 0.0
            for level in range(codes.levels):
                with torch.no_grad():
                    read_so_far = code[:level].expand(3, 1, -1)
                    states = network.code_states(encoded, seen, PROMPT, read_so_far)
                    query = encoded.queries[line, positions[line, at]] / network.temperature
                    logits = codes.logits(level, states[line, 0, -1], query)
                same = (codes.digits[:, :level] == code[:level]).all(1)
                items = codes.digits[same, level]  # an item each, so that digits count as often
                expected -= logits[items].log_softmax(0)[items == code[level]].logsumexp(0)
            torch.testing.assert_close(loss[line, at], expected, atol=0.01, rtol=0)


def test_an_untrained_code_is_worth_its_point(network):
    """But for the last digit, an item's score is the retriever's logit of the code's point."""
    for parameter in network.codes.parameters():
        parameter.data.zero_()
    encoded, codes = read(network, LISTS), network.codes
    rows = torch.arange(ITEMS).expand(3, -1)
    steps = [codes.books[level][codes.digits[:, level]] for level in range(codes.levels)]
    expected = encoded.last @ torch.stack(steps).sum(0).T / network.temperature
    scores = Generator.of(network).likelihood(encoded, PROMPT, rows)
    torch.testing.assert_close(scores, expected, atol=0.01, rtol=0)


def test_codes_alone_learn(network):
    with torch.no_grad():
        encoded = read(network, LISTS)
    positions, targets = torch.tensor([[1], [1], [1]]), torch.tensor([[4], [1], [9]])
    loss = CodeObjective.of(network)(network, encoded, positions, targets, PROMPT).mean()
    loss.backward()
    assert network.codes.turn.weight.grad.abs().sum() > 0
    assert network.codes.bias.grad.abs().sum() > 0
    assert network.codes.books.grad is None
    assert network.items.residual.weight.grad is None


def test_statistics_are_told_before_anything_is_learned(network, caplog):
    trained = torch.arange(ITEMS) < 15
    vectors = network.vectors(network.items()).detach()
    with caplog.at_level("INFO"):
        codes = fit_item_codes(vectors, trained, trained, list("abcdefghijklmnopqrst"), (2, 4), 0)
    assert "of 15 items share a code" in caplog.text
    assert (codes.digits[15:] == -1).all()
    assert len(np.unique(codes.digits[:15], axis=0)) == 15


def test_codes_are_a_task_where_they_are_generated():
    prompts = read_prompts()
    tokenizer = train_tokenizer(prompt.text for prompt in prompts)

    def families(generate, **tasks):
        config = Config(
            train=TrainConfig(tasks=tasks), retrieval=RetrievalConfig(generate=generate)
        )
        return [task.family for task in make_tasks(config, prompts, tokenizer, ())]

    assert families(False, sequential=0.5) == ["sequential"]
    assert families(True) == ["codes"]
    assert families(True, sequential=0.5) == ["sequential", "codes"]
    assert families(True, codes=0.0) == ["codes"]
    assert families(False, codes=1.0) == ["codes"]
    assert families(False, codes=0.0) == []


def test_sizes_of_codes_that_make_no_sense():
    for sizes in ({"code_levels": 0}, {"code_levels": 9}, {"code_size": 0}):
        with pytest.raises(InputError, match="code_levels"):
            RetrievalConfig(**sizes)
