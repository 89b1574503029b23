"""The loop on a toy network: it learns, it stops, and a kill costs nothing but time."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from p5mm.baselines.popularity import Popularity
from p5mm.config import (
    ColdConfig,
    Config,
    RetrievalConfig,
    SimilarityConfig,
    TrainConfig,
)
from p5mm.data.histories import Histories
from p5mm.data.split import LeaveOneOut
from p5mm.errors import InputError
from p5mm.evidence.cold_items import ColdItems
from p5mm.fusion.item import ItemTokens
from p5mm.metrics.ranks import expected_ranks, metrics_per_user
from p5mm.metrics.validation import validation_metrics
from p5mm.model.batches import Passes
from p5mm.model.layers import T5Config
from p5mm.model.network import Network
from p5mm.model.prompts import read_prompts
from p5mm.model.relation_reader import RelationReader
from p5mm.model.t5 import T5
from p5mm.ranking.scorer import Asking, Scorer
from p5mm.ranking.shortlist import Shortlist
from p5mm.training.checkpoint import Checkpoint
from p5mm.training.loop import Training, make_optimizer, training_key
from p5mm.training.retrieval_objective import RetrievalObjective

N = 24
PROMPT = [0, 3, 4]


def walks():
    """Everybody takes item i + 1 after item i, from anywhere."""
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(N, size=60), rng.integers(4, 9, size=60)
    return [[(s + t) % N for t in range(n)] for s, n in zip(starts, lengths, strict=True)]


@pytest.fixture(scope="module")
def split():
    return LeaveOneOut(Histories.from_lists(walks()))


def make_network(dropout=0.1):
    torch.manual_seed(0)
    items = ItemTokens(None, {}, {}, torch.ones(N, dtype=torch.bool), 16, 1, 0.0)
    sizes = T5Config.nano(16, 1, dropout, 20)
    return Network(items, T5(sizes), 0.0625, RelationReader(3, 3, 4, sizes))


def make_training(split, validate=None, checkpoint=None, **settings):
    values = {"positions": 64, "epochs": 4, "learning_rate": 5e-3, "warmup": 5, "precision": "fp32"}
    train = TrainConfig(**values | settings)
    passes = Passes(split.train, 8, train.positions, train.seed)
    network = make_network()
    objective = RetrievalObjective(0)
    parts = [network.items, network.history, network.t5.encoder]
    cases = split.cases("valid")

    def measured(network):
        cold = ColdItems.of(network.items, ColdConfig())
        scorer = Scorer.of(
            network, Asking(PROMPT, 8, 10, Shortlist(10, 0)), cold, [str(i) for i in range(N)]
        )
        metrics = validation_metrics(scorer.among(np.arange(N)), cases)
        return {"score": metrics["ndcg@10"], **metrics}

    return Training(
        "toy", network, parts, objective, train, passes, validate or measured, checkpoint
    )


def scripted(values):
    """A validation with the NDCGs given; an exception among them is raised."""
    left = list(values)

    def validate(network):
        value = left.pop(0)
        if isinstance(value, BaseException):
            raise value
        return {"score": value, "ndcg@10": value, "recall@10": value}

    return validate


def weights(network):
    return [p.detach().clone() for p in network.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_it_learns_what_follows_what_far_above_popularity(split):
    training = make_training(split, epochs=25)
    log = training.run()
    cases = split.cases("valid")
    popular = Popularity()
    popular.fit(split, N)
    ranks = expected_ranks(popular.scores(cases.histories), cases.targets, cases.histories)
    bar = float(metrics_per_user(ranks)["ndcg@10"].mean())
    best = max(epoch["ndcg@10"] for epoch in log)
    assert bar < 0.5
    assert best > 0.9
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert [set(epoch) for epoch in log] == [
        {"epoch", "loss", "score", "ndcg@10", "recall@10", "seconds"}
    ] * len(log)


def test_a_run_interrupted_after_an_epoch_ends_with_the_same_bits(split, tmp_path):
    whole = make_training(split)
    expected = whole.run()
    checkpoint = Checkpoint(tmp_path / "checkpoint", "key")
    first = make_training(split, checkpoint=checkpoint)
    measured, epochs = first.validate, []

    def killed(network):
        epochs.append(network)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return measured(network)

    first.validate = killed
    with pytest.raises(KeyboardInterrupt):
        first.run()
    torch.rand(5)  # another process has another random state
    second = make_training(split, checkpoint=checkpoint)
    found = second.run()
    assert same(weights(whole.network), weights(second.network))
    untimed = [[{k: v for k, v in e.items() if k != "seconds"} for e in log]
               for log in (expected, found)]  # fmt: skip
    assert untimed[0] == untimed[1]
    assert len(list((tmp_path / "checkpoint").iterdir())) == 2


def test_a_finished_run_is_not_trained_again(split, tmp_path):
    checkpoint = Checkpoint(tmp_path, "key")
    first = make_training(split, checkpoint=checkpoint, epochs=2)
    first.run()
    second = make_training(split, scripted([]), checkpoint, epochs=2)
    second.run()
    assert same(weights(first.network), weights(second.network))


def test_another_training_does_not_take_the_checkpoint(split, tmp_path):
    make_training(split, checkpoint=Checkpoint(tmp_path, "one"), epochs=1).run()
    with pytest.raises(InputError, match="an unfinished training with other settings"):
        make_training(split, checkpoint=Checkpoint(tmp_path, "two")).run()


def test_the_key_knows_settings_data_and_encoders_but_no_paths(split):
    config, other = Config(), Histories.from_lists([[0, 1]])
    cases = split.cases("valid")
    same = config, [split.train], cases, {"text": "a"}, []
    key = training_key(*same)
    assert key == training_key(Config(), *same[1:])
    rated = replace(split.train, ratings=np.ones(len(split.train.items), dtype=np.float32))
    others = [
        (Config(train=TrainConfig(seed=1)), *same[1:]),
        (Config(retrieval=RetrievalConfig(candidates=7)), *same[1:]),
        (Config(similarity=SimilarityConfig(neighbours=7)), *same[1:]),
        (Config(cold=ColdConfig(neighbours=7)), *same[1:]),
        (config, [other], *same[2:]),
        (config, [split.train, other], *same[2:]),
        (config, [rated], *same[2:]),
        (*same[:2], split.cases("test"), *same[3:]),
        (*same[:3], {"text": "b"}, []),
        (*same[:4], read_prompts()),
    ]
    assert len({key, *(training_key(*one) for one in others)}) == 1 + len(others)


def test_it_stops_when_validation_no_longer_improves_and_keeps_the_best(split):
    seen = []
    training = make_training(split, epochs=9, patience=2)
    script = scripted([0.1, 0.3, 0.2, 0.3, 0.9])

    def validate(network):
        seen.append(weights(network))
        return script(network)

    training.validate = validate
    log = training.run()
    assert [epoch["ndcg@10"] for epoch in log] == [0.1, 0.3, 0.2, 0.3]
    assert same(weights(training.network), seen[1])


def test_epochs_are_the_limit(split):
    log = make_training(split, scripted([0.1, 0.2, 0.3]), epochs=3).run()
    assert [epoch["epoch"] for epoch in log] == [1, 2, 3]


def test_averaged_weights_are_validated_and_training_goes_on_with_its_own(split):
    training = make_training(split, epochs=1)
    during = []
    parts = training.parameters
    kept = lambda: [p.detach().clone() for p in parts]  # noqa: E731
    training.validate = lambda network: during.append(kept()) or {"score": 0.5}
    before = kept()
    training.run()
    assert same(during[0], training.average)
    assert not same(during[0], before)


def test_the_seed_decides(split):
    one, again, other = (make_training(split, epochs=1, seed=s) for s in (1, 1, 2))
    for training in (one, again, other):
        training.run()
    assert same(weights(one.network), weights(again.network))
    assert not same(weights(one.network), weights(other.network))


def test_norms_and_biases_do_not_decay():
    network = make_network()
    decayed, kept = make_optimizer(network, list(network.parameters()), TrainConfig()).param_groups
    assert {p.ndim for p in kept["params"]} == {1}
    assert decayed["weight_decay"] > 0
    assert kept["weight_decay"] == 0
    count = sum(p.numel() for group in (decayed, kept) for p in group["params"])
    assert count == sum(p.numel() for p in network.parameters())


def test_an_unfinished_write_leaves_the_state_before(split, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path, "key")
    make_training(split, checkpoint=checkpoint, epochs=1).run()
    progress, tensors = checkpoint.load()
    broken = {name: tensor * math.nan for name, tensor in tensors.items()}

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("p5mm.training.checkpoint.json.dumps", killed)
    progress.epoch = 7
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(progress, broken)
    again, kept = checkpoint.load()
    assert again.epoch == 1
    assert all(torch.equal(kept[name], tensors[name]) for name in tensors)


def test_a_training_that_diverges_says_so(split):
    with pytest.raises(InputError, match=r"diverged: .* smaller train.learning_rate \(now 1e\+30"):
        make_training(split, learning_rate=1e30).run()


def test_a_falling_rate_falls_evenly_to_nothing(split):
    training = make_training(split, epochs=4, warmup=1, learning_rate=0.4)
    training.progress.step = 10
    for epoch, expected in enumerate([0.4, 0.4, 0.4]):
        training.progress.epoch = epoch
        assert training._rate(0.5) == pytest.approx(expected)
    training.falling = True
    for epoch, expected in enumerate([0.4, 0.3, 0.2, 0.1]):
        training.progress.epoch = epoch
        assert training._rate(0.0) == pytest.approx(expected)
        assert training._rate(0.5) == pytest.approx(expected - 0.05)
    assert training._rate(1.0) == 0.0


def test_where_the_rate_falls_patience_does_not_stop_and_the_last_of_equals_is_kept(split):
    values = [-4.0, -3.0, -2.0, -2.001, -2.003]  # a step of .2 % is .004
    training = make_training(split, scripted(values), epochs=5, patience=1)
    training.falling = True
    training.run()
    assert (training.progress.epoch, training.progress.best_epoch) == (5, 5)
    assert training.progress.best == -2.0
    values[-1] = -2.005
    training = make_training(split, scripted(values), epochs=5, patience=1)
    training.falling = True
    training.run()
    assert training.progress.best_epoch == 4
