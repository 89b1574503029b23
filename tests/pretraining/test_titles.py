"""Titles from soft prompts: learned of most items, written of all."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from p5mm.data.catalog import Catalog
from p5mm.model.tokenizer import EOS, PAD, START, train_tokenizer
from p5mm.pretraining import titles as module
from p5mm.pretraining.pretrain import pretrain
from p5mm.pretraining.titles import LENGTH, Titles, alone, is_held_out, written_titles
from p5mm.training.fit import fit

KEPT = 4


@pytest.fixture(scope="module")
def base(toys):
    """Learned until it can write; one toy item in four is held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD_OUT", KEPT)
        config = toys.toy_config(epochs=60, patience=60, tasks={"title": 1.0}, seed=2)
        return pretrain({"toy": toys.toy_dataset()}, config)


def test_an_item_without_a_text_has_no_title(toys):
    found = toys.toy_catalog().own_titles
    rows = toys.toy_catalog().rows
    assert found[rows["r1s1"]] is None
    assert found[rows["r0s4"]] == "ring0 step4"
    table = pa.table({"item_id": ["A1", "B2"], "title": [None, "Ring"], "brand": ["Acme", "x"]})
    catalog = Catalog.from_table(table)
    assert catalog.own_titles == [None, "Ring"]  # an id is nothing to learn
    assert catalog.titles == ["A1", "Ring"]


def test_words_are_closed_and_cut(toys):
    tokenizer = train_tokenizer(["ring step"], 300)
    made = Titles.of([toys.toy_catalog(), toys.toy_catalog()], tokenizer)
    assert made.words.shape == (82, LENGTH)
    assert torch.equal(made.words[:41], made.words[41:])
    row = toys.toy_catalog().rows["r0s4"]
    ids = tokenizer.encode("ring0 step4").ids
    assert made.words[row].tolist() == [*ids, EOS, *[PAD] * (LENGTH - len(ids) - 1)]
    assert (made.words[toys.toy_catalog().rows["r1s1"]] == PAD).all()
    odd = ["ring </s> step", "<pad>", "\U0001f600"]
    catalog = Catalog.from_table(pa.table({"item_id": list("abc"), "title": odd}))
    words = Titles.of([catalog], tokenizer).words
    assert (words[0] == EOS).sum() == 1  # a text may spell the end
    assert (words[1] == PAD).all()
    assert tokenizer.decode(words[2].tolist()).strip() == odd[2]


def test_what_is_held_out_depends_on_the_id_alone():
    held_out = [is_held_out(f"item{n}") for n in range(2_000)]
    assert 60 < sum(held_out) < 140
    assert held_out == [is_held_out(f"item{n}") for n in range(2_000)]


def test_the_loss_is_that_of_each_word_after_those_before(toys):
    model = fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={}))
    network, tokenizer = model.network, model.tokenizer
    made = Titles.of([model.catalog], tokenizer)
    rows = torch.tensor([3, 9])
    with torch.no_grad():
        loss = made.loss(network, rows)
        total, count = 0.0, 0
        encoded = alone(network, network.items(rows))
        for n, row in enumerate(rows.tolist()):
            words = [w for w in made.words[row].tolist() if w != PAD]
            for place, word in enumerate(words):
                x = network.t5.shared(torch.tensor([START, *words[:place]]))[None, None]
                seen = encoded.seen_until(encoded.lengths[:, None])[[n]]
                states = network.t5.decoder(x, place + 1, encoded.memory[[n]], seen)
                logits = network.t5.token_logits(states[0, 0, -1])
                total += float(F.cross_entropy(logits, torch.tensor(word)))
                count += 1
    assert float(loss) == pytest.approx(total / count, rel=1e-4)


def test_it_writes_what_it_has_learned_and_some_of_what_it_has_not(
    toys, base, tmp_path, monkeypatch
):
    """Rings and steps of held-out items are in their content, their titles were never seen."""
    monkeypatch.setattr(module, "HELD_OUT", KEPT)
    base.write(tmp_path / "base")
    config = toys.toy_config(epochs=0)
    config = replace(config, model=replace(config.model, base=str(tmp_path / "base")))
    model = fit(toys.toy_dataset(), config)
    real = model.catalog.own_titles
    rows = torch.tensor([n for n, title in enumerate(real) if title is not None])
    found = written_titles(model.network, model.tokenizer, rows)
    pairs = [(text, real[row]) for text, row in zip(found, rows.tolist(), strict=True)]
    right = np.array([text == title for text, title in pairs])
    rings = np.array([text[:5] == title[:5] for text, title in pairs])
    new = np.array([is_held_out(model.catalog.item_ids[row]) for row in rows.tolist()])
    assert 5 < new.sum() < 20
    assert right[~new].mean() > 0.5  # of forty titles
    assert rings[new].mean() > 0.8  # of four rings


def test_a_title_that_never_ends_is_cut(toys, base, endless, written_by, tmp_path):
    base.write(tmp_path / "base")
    config = toys.toy_config(epochs=0)
    config = replace(config, model=replace(config.model, base=str(tmp_path / "base")))
    model = fit(toys.toy_dataset(), config)
    found = written_by(module)
    written_titles(model.network, model.tokenizer, torch.arange(3))
    assert [len(tokens) for tokens in found[0].texts()] == [LENGTH] * 3


def test_titles_may_be_left_out(toys):
    base = pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=1, tasks={}))
    assert base.learned[0].ndcg > 0
