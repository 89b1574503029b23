"""Headlines: learned from training reviews alone, written after a history and of an item."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from p5mm.commands.main import main
from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.data.split import LeaveOneOut
from p5mm.data.tables import read_table
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, LeakageError
from p5mm.evaluation.linter.model import model_findings
from p5mm.model.batches import history_batch
from p5mm.model.network import word_states
from p5mm.model.prompts import choose
from p5mm.model.tokenizer import EOS, ITEM, PAD, prompt_tokens
from p5mm.ranking import headlines
from p5mm.ranking.headlines import REVIEW, written_headlines
from p5mm.ranking.writing import WRITTEN, beams
from p5mm.serving.recommender import Recommender
from p5mm.share import Share
from p5mm.training.decoder import with_tasks
from p5mm.training.fit import fit
from p5mm.training.headline_objective import HeadlineObjective, Headlines, read_headlines
from p5mm.training.training_data import TrainingData

TASKS = {REVIEW: 1.0}
NAMES = ("drum", "flute", "harp", "cello")


def headline(item: str, before: int) -> str:
    """What it says follows from the item, and from how much its writer took before."""
    return f"my {NAMES[int(item[1])]} " + ("once more" if before > 2 else "at last")


def reviewed(toys, change=lambda place, text: text):
    """The toy shop whose log has headlines; ``change`` of each by its place from the end."""
    log = Interactions.from_rows(toys.toy_rows()).table
    users, items = log["user_id"].to_pylist(), log["item_id"].to_pylist()
    sizes = {user: users.count(user) for user in users}
    texts, seen = [], dict.fromkeys(users, 0)
    for user, item in zip(users, items, strict=True):
        texts.append(change(sizes[user] - seen[user], headline(item, seen[user])))
        seen[user] += 1
    log = Interactions.from_table(log.append_column("summary", pa.array(texts)))
    return Dataset(toys.toy_catalog(), log, log)


def settings(toys, **train):
    return toys.toy_config(**{"epochs": 3, "task_epochs": 3, "tasks": TASKS, **train})


@pytest.fixture(scope="module")
def shop(toys):
    return reviewed(toys)


@pytest.fixture(scope="module")
def model(toys, shop):
    many = {"epochs": 40, "task_epochs": 40, "positions": 64, "rank_requests": 32}
    return fit(shop, settings(toys, **many), FeatureStore())


def headlines_of(dataset, config):
    data = TrainingData.of(dataset)
    return read_headlines(config, dataset.interactions, data.items, data.rows, data.split)


def test_a_headline_stands_by_its_item_and_what_came_before(toys, shop):
    train, valid = headlines_of(shop, settings(toys))
    ids = shop.catalog.item_ids
    for part in (train, valid):
        known = part.known(np.arange(len(part)))
        assert known.lengths.tolist() == part.before.tolist()
        assert [
            headline(ids[item], before)
            for item, before in zip(part.items, part.before, strict=True)
        ] == list(part.texts)
    split = TrainingData.of(shop).split
    assert len(train) == len(split.train.items)
    assert len(valid) == len(split.cases("valid"))
    assert isinstance(split, LeaveOneOut)


def test_nothing_held_out_is_learned(toys):
    """Held-out headlines could be anything: not one of them is among those of training."""
    config = settings(toys)
    changed = reviewed(toys, lambda place, text: text if place > 2 else f"secret {place}")
    train, valid = headlines_of(changed, config)
    assert not [text for text in train.texts if "secret" in text]
    assert set(valid.texts) == {"secret 2"}
    assert "secret 1" not in (*train.texts, *valid.texts)
    assert train.digest == headlines_of(reviewed(toys), config)[0].digest


def test_empty_headlines_are_none(toys):
    blank = reviewed(toys, lambda place, text: " " if place % 2 else text)
    train, _ = headlines_of(blank, settings(toys))
    assert 0 < len(train) < len(TrainingData.of(blank).split.train.items)
    nobody = reviewed(toys, lambda place, text: "" if place > 2 else text)
    with pytest.raises(InputError, match="no interaction that is learned from has a headline"):
        fit(nobody, settings(toys))
    bare = toys.toy_dataset()
    with pytest.raises(InputError, match="give the log a column headline"):
        fit(bare, settings(toys))
    assert headlines_of(bare, toys.toy_config()) is None


@torch.no_grad()
def test_the_loss_is_that_of_each_word_after_its_prompt_history_and_item(toys, model, shop):
    network, config = model.network.eval(), model.config
    train, _ = headlines_of(shop, config)
    few = Headlines(train.histories, train.users[:5], train.before[:5], train.texts[:5])
    lesson = HeadlineObjective.of(few, model.tokenizer, 8, (3.0, 2.0))
    tokens, places = network.items(), torch.arange(len(network.items))
    prompt = prompt_tokens(model.tokenizer, choose(model.prompts, REVIEW)[0], 2)
    assert prompt.count(ITEM) == 2
    total, count = 0.0, 0
    for row in range(5):
        words = [word for word in lesson.words[row].tolist() if word != PAD]
        assert words[-1] == EOS
        batch = history_batch(few.known(np.array([row])), 8)
        encoded = network.encode(tokens, replace(batch, ratings=(batch.ratings - 3.0) / 2.0))
        slot = tokens[few.items[row]][None]
        for place, word in enumerate(words):
            x = network.t5.shared(torch.tensor([*prompt, *words[:place]]).clamp(min=0))[None]
            x[:, [at for at, token in enumerate(prompt) if token == ITEM]] = slot
            seen = encoded.seen_until(encoded.lengths[:, None])
            states = network.t5.decoder(x[:, None], x.shape[1], encoded.memory, seen)
            logits = network.t5.token_logits(states[0, 0, -1])
            total += float(F.cross_entropy(logits, torch.tensor(word)))
            count += 1
    found = lesson.mean(network, tokens, places, prompt)
    assert found == pytest.approx(total / count, rel=1e-4)
    nothing = replace(lesson, words=lesson.words[:0])
    assert nothing.mean(network, tokens, places, prompt) is None


def test_a_headline_without_a_word_is_no_lesson(toys, model, shop):
    train, _ = headlines_of(shop, model.config)
    texts = ["</s>", "my harp", "<pad></s>", "\U0001f600"]
    few = Headlines(train.histories, train.users[:4], train.before[:4], texts)
    lesson = HeadlineObjective.of(few, model.tokenizer, 8, (3.0, 2.0))
    assert list(lesson.headlines.texts) == [texts[1], texts[3]]
    assert (lesson.words[:, 0] != PAD).all()
    silent = reviewed(toys, lambda place, text: "</s>")
    fit(silent, settings(toys, epochs=1))  # nothing to learn is no error in the numbers


@torch.no_grad()
def test_the_shares_of_processes_sum_to_the_whole(model, shop):
    network, tokens = model.network.eval(), model.network.items()
    train, _ = headlines_of(shop, model.config)
    lesson = HeadlineObjective.of(train, model.tokenizer, 8, (3.0, 2.0))
    prompt = prompt_tokens(model.tokenizer, choose(model.prompts, REVIEW)[0], 2)

    def loss(count, *share):
        torch.manual_seed(3)
        places = torch.arange(len(tokens))
        return float(lesson.step(network, tokens, places, prompt, count, Share(*share)))

    assert loss(7, 0, 2) + loss(7, 1, 2) == pytest.approx(loss(7), rel=1e-4)
    assert loss(1, 1, 2) == 0  # more processes than headlines


@torch.no_grad()
def test_what_is_written_are_the_likeliest_words_after_prompt_history_and_item(model):
    network, scorer = model.network.eval(), model.scorer
    prompt = prompt_tokens(model.tokenizer, choose(model.prompts, REVIEW)[0], 2)
    histories = model.histories.select(np.arange(4))
    encoded = network.encode(scorer.tokens, scorer.batch(histories))
    slots = scorer.tokens[:4]
    found = beams(network.t5, encoded, WRITTEN, 1, prompt=prompt, slots=slots).tokens[:, 0]
    words = torch.zeros(4, 0, dtype=torch.int64)
    for place in range(found.shape[1]):
        states = word_states(network.t5, encoded, prompt, words, slots)
        likely = network.t5.token_logits(states[:, -1]).argmax(dim=-1)
        going = found[:, place] != PAD
        assert torch.equal(likely[going], found[going, place])
        words = torch.cat([words, likely[:, None]], dim=1)


@torch.no_grad()
def test_a_prompt_may_name_its_item_twice_or_not_at_all(model):
    network, scorer = model.network.eval(), model.scorer
    encoded = network.encode(scorer.tokens, scorer.batch(model.histories.select(np.arange(3))))
    slots = scorer.tokens[:3]
    twice = beams(network.t5, encoded, 3, prompt=[0, ITEM, ITEM, 5, ITEM, ITEM], slots=slots)
    assert torch.isfinite(twice.scores).all()
    without = beams(network.t5, encoded, 3, prompt=[0, 5], slots=slots)
    assert torch.equal(without.tokens, beams(network.t5, encoded, 3, prompt=[0, 5]).tokens)


def test_it_writes_what_follows_from_item_and_history(model):
    """Of held-out reviews, which no training has read."""
    cases = model.split.cases("test").in_rows(model.rows)
    found = written_headlines(model, cases.histories, cases.targets, width=1)
    ids, lengths = model.catalog.item_ids, cases.histories.lengths
    wanted = [headline(ids[item], n) for item, n in zip(cases.targets, lengths, strict=True)]
    assert np.mean([a == b for a, b in zip(found, wanted, strict=True)]) > 0.8


@pytest.mark.parametrize("width", [1, 4])
def test_a_headline_that_never_ends_is_cut(model, endless, written_by, width):
    found = written_by(headlines)
    histories = model.histories.select(np.zeros(2, np.int64))
    assert all(written_headlines(model, histories, np.array([0, 1]), width))
    assert [len(tokens) for tokens in found[0].texts()] == [WRITTEN, WRITTEN]


def test_headlines_leave_the_retriever_alone(toys, shop, model):
    same = fit(shop, settings(toys, tasks={}))
    assert not same.fitted.task_log
    assert set(model.fitted.task_log[0]) & {REVIEW, "sequential"} == {REVIEW}
    with_reviews = with_tasks(same, TASKS)
    before, after = same.network.state_dict(), with_reviews.network.state_dict()
    for name in before:
        if name.startswith(("items.", "history.", "t5.encoder.")):
            assert torch.equal(before[name], after[name]), name
    model_findings(with_reviews)


def test_the_same_tasks_give_the_same_model(model):
    again = with_tasks(model, TASKS)
    before, after = model.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.fitted.trained_on == model.fitted.trained_on


def test_headlines_beside_ranking(toys, shop):
    model = fit(shop, settings(toys, epochs=2, tasks={"sequential": 0.5, REVIEW: 0.5}))
    assert {"sequential", REVIEW} <= set(model.fitted.task_log[-1])
    assert Recommender(model).recommend(["u1"], k=3).num_rows == 3


def test_a_log_with_other_headlines_is_refused(toys, model):
    """Of the training part; what stands above a held-out review was not learned."""
    model_findings(model)
    later = reviewed(toys, lambda place, text: text if place > 1 else "other")
    model_findings(replace(model, log=later.log))
    other = reviewed(toys, lambda place, text: text if place < 4 else "other")
    with pytest.raises(LeakageError, match="ratings or headlines"):
        model_findings(replace(model, log=other.log))


def test_another_log_does_not_go_on_with_a_training(toys, shop, tmp_path):
    def run(dataset, epochs):
        return fit(dataset, settings(toys, epochs=epochs, tasks=TASKS), checkpoint=tmp_path)

    run(shop, 2)
    with pytest.raises(InputError, match="unfinished training with other settings or data"):
        run(reviewed(toys, lambda place, text: text if place < 4 else "other"), 2)


def test_a_kept_model_writes_the_same(model, tmp_path, capsys):
    shop = Recommender(model)
    pairs = pa.table({"user_id": ["u1", "u2", "u1"], "item_id": ["r1s2", "r2s5", "cold"]})
    told = shop.headlines(pairs)
    assert told.column_names == ["user_id", "item_id", "headline"]
    assert all(told["headline"].to_pylist())
    shop.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    assert again.headlines(pairs).equals(told)
    assert again.headlines(told).equals(told)
    history = pa.table({"history": [["r1s0"], []], "item_id": ["r1s1", "r1s1"]})
    assert len(again.headlines(history, width=1)) == 2
    with pytest.raises(InputError, match="unknown item"):
        again.headlines(pa.table({"user_id": ["u1"], "item_id": ["r1s22"]}))
    with pytest.raises(InputError, match="give 1 or more"):
        again.headlines(pairs, width=0)
    (tmp_path / "pairs.csv").write_text("user_id,item_id\nu1,r1s2\nu1,strange\nnobody,r1s2\n")
    command = ["review", str(tmp_path / "model"), str(tmp_path / "pairs.csv"), "--out"]
    assert main([*command, str(tmp_path / "out.csv")]) == 0
    assert "with an item that is not in the catalog" in capsys.readouterr().err
    rows = read_table(tmp_path / "out.csv").to_pydict()
    assert rows["item_id"] == ["r1s2", "strange", "r1s2"]
    assert rows["headline"] == [told["headline"][0].as_py(), None, None]
    assert main([*command, str(tmp_path / "out.csv"), "--beams", "0"]) == 2
    assert "--beams is 0" in capsys.readouterr().err


def test_a_model_that_has_not_learned_to_write_says_so(fitted, tmp_path, capsys):
    with pytest.raises(InputError, match="not on review; train one on a log with a column headl"):
        Recommender(fitted).headlines(pa.table({"user_id": ["u1"], "item_id": ["r1s2"]}))
    Recommender(fitted).save(tmp_path / "model")
    (tmp_path / "pairs.csv").write_text("user_id,item_id\nu1,r1s2\n")
    command = [str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out.csv")]
    assert main(["review", str(tmp_path / "model"), *command]) == 2
    assert "was trained on sequential, direct, rating, not on review" in capsys.readouterr().err
    assert main(["review", str(tmp_path), *command]) == 2
    assert "is neither a base nor a model" in capsys.readouterr().err
