"""What is learned with parts hidden: nothing hidden is seen, and each is learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p5mm.data.catalog import Catalog
from p5mm.indexing.encode import encode_catalog
from p5mm.model.batches import Batch
from p5mm.model.tokenizer import EOS, PAD, UNKNOWN, tokens_of, train_tokenizer
from p5mm.pretraining import self_supervised as module
from p5mm.pretraining.base_objective import BaseObjective
from p5mm.pretraining.pretrain import pretrain
from p5mm.pretraining.reviews import drawn
from p5mm.pretraining.self_supervised import Spans, masked_history, matching
from p5mm.training.beginning import Beginning
from p5mm.training.checkpoint import Checkpoint
from p5mm.training.fit import fit
from p5mm.training.retrieval_objective import RetrievalObjective

S = [101, 102, 103, 104]  # sentinels


@pytest.fixture(scope="module")
def network(toys):
    return fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={})).network


def batch_of(model_rows, lengths, rating=torch.nan):
    rows = torch.tensor(model_rows)
    ratings = torch.full(rows.shape, rating)
    none = torch.full((len(rows), 1 + rows.shape[1]), -1)
    return Batch(rows, torch.tensor(lengths), ratings, none, none.float())


@given(st.integers(1, 80), st.integers(0, 2**31 - 1))
def test_spans_give_the_text_back(length, seed):
    torch.manual_seed(seed)
    tokens = list(range(10, 10 + length))
    read, written = Spans(torch.zeros(0, 1).long(), S).hidden(tokens)
    assert written[-1] == EOS
    hidden, number = {}, None
    for token in written[:-1]:
        if token in S:
            number = token
            hidden[number] = []
        else:
            hidden[number].append(token)
    again = [t for token in read for t in (hidden[token] if token in S else [token])]
    assert again == tokens
    assert 1 <= len(hidden) <= len(S)
    assert list(hidden) == S[: len(hidden)]


def test_sentinels_are_those_of_the_tokenizer():
    tokenizer = train_tokenizer(["ring"], 300)
    assert set(Spans.of(torch.zeros(1, 4).long(), tokenizer).sentinels) == {UNKNOWN}
    tokenizer.add_special_tokens(["<extra_id_0>", "<extra_id_1>"])
    found = Spans.of(torch.zeros(1, 4).long(), tokenizer).sentinels
    assert len(set(found[:2])) == 2
    assert set(found[2:]) == {UNKNOWN}


def test_texts_are_cut_and_none_are_nothing(toys, network):
    tokenizer = train_tokenizer(["ring"], 300)
    words = tokens_of(tokenizer, [None, "", "ring", "ring " * 100_000], 8)
    assert (words[:2] == PAD).all()
    assert (words[3] != PAD).all()
    spans = Spans.of(words, tokenizer)
    assert float(spans.loss(network, torch.tensor([0, 1]))) == 0
    assert torch.isfinite(spans.loss(network, torch.tensor([0, 2, 3])))


def test_a_hidden_item_is_not_read(network, monkeypatch):
    """Where all are hidden, what is read hangs neither on the items nor on their ratings."""
    monkeypatch.setattr(module, "HIDDEN", 1.0)
    network.history.rating.data.fill_(1.0)
    ranking = RetrievalObjective(0)
    network.eval()
    read = []
    encoder = network.t5.encoder
    handle = encoder.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    for rows, rating in (([[1, 2, 3, 0]], 2.0), ([[3, 1, 2, 0]], -1.0)):
        batch = batch_of(rows, [3], rating)
        masked_history(network, ranking, ranking.view(network, batch))
    handle.remove()
    real = 1 + 3 * network.items.k
    torch.testing.assert_close(read[0][:, :real], read[1][:, :real])


def test_padding_is_neither_read_nor_asked(network, monkeypatch):
    ranking = RetrievalObjective(0)
    network.eval()
    monkeypatch.setattr(module, "HIDDEN", 1.0)
    losses = []
    for rows in ([[1, 2, 3]], [[1, 2, 3, 7, 9]]):
        batch = batch_of(rows, [3])
        losses.append(masked_history(network, ranking, ranking.view(network, batch)))
    torch.testing.assert_close(losses[0], losses[1])


def test_nothing_to_hide_costs_nothing(network):
    ranking = RetrievalObjective(0)
    batch = batch_of([[0, 0]], [0])
    assert float(masked_history(network, ranking, ranking.view(network, batch))) == 0
    one = torch.tensor([3])
    assert float(matching(network, one, torch.zeros(1, 4).long())) == 0


def test_matching_is_learned(toys):
    """Texts and styles of the toy shop's items find each other after some steps."""
    base = [
        pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=12, patience=12, tasks=tasks))
        for tasks in ({}, {"matching": 1.0})
    ]
    shares = []
    for of in base:
        config = toys.toy_config(epochs=0)
        shop = fit_from(toys, of, config)
        rows = torch.nonzero(shop.items.present.all(dim=1)).flatten()
        (alone, rest), *_ = module._halves(shop.eval(), rows)
        cosines = shop.vectors(alone) @ shop.vectors(rest).T
        shares.append(float((cosines.argmax(1) == torch.arange(len(rows))).float().mean()))
    assert shares[1] > max(0.5, shares[0])


def fit_from(toys, base, config):
    """A shop's network on its first day."""
    data = toys.toy_dataset()
    features = encode_catalog(data.catalog, config.encoders, None)
    beginning = Beginning(base)
    content = beginning.content(features, len(data.catalog), config.model.whiten)
    t5, _ = beginning.t5(config.model, ())
    return beginning.network(
        config.model, content, torch.zeros(content.items, dtype=torch.bool), t5
    )


def test_every_task_of_items_runs_and_resumes(toys, tmp_path, monkeypatch):
    tasks = {"title": 0.5, "masked": 0.5, "matching": 0.5, "spans": 0.5}
    config = toys.toy_config(epochs=3, tasks=tasks)
    whole = pretrain({"toy": toys.toy_dataset()}, config)
    assert whole.words == ("title",)
    save, saved = Checkpoint.save, []

    def killed(self, *state):
        save(self, *state)
        saved.append(state)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain({"toy": toys.toy_dataset()}, config, checkpoint=tmp_path)
    again = pretrain({"toy": toys.toy_dataset()}, config, checkpoint=tmp_path)
    assert again.digest == whole.digest


@pytest.mark.parametrize("weight", [0.25, 1.0, 2.5])
def test_a_task_counts_as_much_as_its_weight_in_the_mean(weight):
    torch.manual_seed(0)
    scales = [drawn({"title": weight, "other": 1.0}).get("title", 0.0) for _ in range(4_000)]
    assert np.mean(scales) == pytest.approx(weight, abs=0.03)


def learning(toys, monkeypatch, catalog, tasks, **encoders):
    """The tasks that are asked in a pretraining, and the objective."""
    seen, made = [], []
    of_items = BaseObjective._of_items

    def watched(self, name, *rest):
        made.append(self)
        loss = of_items(self, name, *rest)
        seen.append((name, float(loss.detach())))
        return loss

    monkeypatch.setattr(BaseObjective, "_of_items", watched)
    config = toys.toy_config(epochs=1, tasks=tasks)
    config = replace(config, encoders=replace(config.encoders, **encoders))
    base = pretrain({"toy": replace(toys.toy_dataset(), catalog=catalog)}, config)
    return base, {name for name, loss in seen if loss > 0}, made[-1] if made else None


def test_texts_of_held_out_titles_are_never_learned(toys, monkeypatch):
    from p5mm.pretraining import titles

    monkeypatch.setattr(titles, "HELD_OUT", 3)
    _, asked, objective = learning(toys, monkeypatch, toys.toy_catalog(), {"spans": 1.0})
    assert asked == {"spans"}
    assert objective.titles.held_out.any()
    assert (objective.spans.words[objective.titles.held_out] == PAD).all()


def test_matching_needs_no_title(toys, monkeypatch):
    """A shop without a text has pictures, and other vectors, that belong to an item."""
    table = toys.toy_catalog().table
    both = table.append_column("shape", table["style"]).drop_columns(["title"])
    base, asked, _ = learning(
        toys, monkeypatch, Catalog.from_table(both), {"title": 1.0, "matching": 1.0, "spans": 1.0},
        others=("vector:style", "vector:shape"),
    )  # fmt: skip
    assert asked == {"matching"}
    assert base.words == ()


@pytest.mark.parametrize("how", ["zero", "shuffled"])
def test_what_is_ablated_is_not_read_otherwise(toys, monkeypatch, how):
    tasks = {"title": 1.0, "matching": 1.0, "spans": 1.0}
    base, asked, objective = learning(
        toys, monkeypatch, toys.toy_catalog(), tasks, ablate={"text": how}
    )
    assert base.words == ()
    assert asked <= {"matching"}
    assert objective is None or (objective.spans.words == PAD).all()


def test_masked_histories_are_learned(toys):
    """What stands between others of its ring is found by what stands on both sides."""
    torch.manual_seed(0)
    network = fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={})).network
    rows = toys.toy_catalog().rows
    histories = [
        [rows[toys.ring_item(ring, step + n)] for n in range(5)]
        for ring in range(4) for step in range(6)
    ]  # fmt: skip
    ranking, batch = RetrievalObjective(0), batch_of(histories, [5] * len(histories))
    optimizer, losses = torch.optim.AdamW(network.parameters(), 3e-3), []
    for _ in range(150):
        loss = masked_history(network, ranking, ranking.view(network, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 2.5  # 3.7 is chance
