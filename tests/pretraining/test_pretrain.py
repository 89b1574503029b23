"""A base: learned on several catalogs, holding none of their items, begun from in any shop."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.data.interactions import Interactions
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.fusion.item import ItemTokens
from p5mm.model.base import read_base
from p5mm.model.batches import Passes
from p5mm.model.layers import T5Config
from p5mm.model.network import Network
from p5mm.model.relation_reader import RelationReader
from p5mm.model.t5 import T5
from p5mm.pretraining.domains import DomainObjective, Mixture, joined, joined_features
from p5mm.pretraining.pretrain import pretrain
from p5mm.serving.recommender import Recommender
from p5mm.training.beginning import RANK
from p5mm.training.checkpoint import Checkpoint
from p5mm.training.fit import fit
from p5mm.training.loop import Training


@pytest.fixture(scope="module")
def base_folder(toys, tmp_path_factory):
    """Learned from the toy shop under two names, one half as large."""
    whole = toys.toy_dataset()
    half = replace(whole, interactions=some_users(toys.toy_rows(), 40))
    base = pretrain({"whole": whole, "half": half}, of_base(toys, epochs=4))
    folder = tmp_path_factory.mktemp("base") / "base"
    base.write(folder)
    return folder


def of_base(toys, **train):
    return toys.toy_config(**{"tasks": {"title": 0.5}} | train)


def some_users(rows, users):
    """The log of the first users alone."""
    return Interactions.from_rows([row for row in rows if int(row[0][1:]) < users])


def begun(toys, folder, **train):
    config = toys.toy_config(**train)
    return replace(config, model=replace(config.model, base=str(folder)))


def other_names(toys):
    return {item: f"x{n}" for n, item in enumerate(reversed(toys.toy_catalog().item_ids))}


def other_rows(toys):
    names = other_names(toys)
    return [(f"v{user[1:]}", names[item], *rest) for user, item, *rest in toys.toy_rows()]


def other_shop(toys):
    """The toy shop's items under other names, in another order, and people of its own."""
    names = other_names(toys)
    table = toys.toy_catalog().table
    ids = pa.array([names[item] for item in table["item_id"].to_pylist()])
    table = table.set_column(table.column_names.index("item_id"), "item_id", ids)
    log = Interactions.from_rows(other_rows(toys))
    return Dataset(Catalog.from_table(table.take(pa.array(range(len(ids))[::-1]))), log, log)


def test_it_learns_every_domain(base_folder):
    base = read_base(base_folder)
    assert [of.name for of in base.learned] == ["whole", "half"]
    assert [of.users for of in base.learned] == [80, 40]
    assert all(of.ndcg > 0.9 for of in base.learned)  # a popular item would have .1


def test_nothing_of_an_item_is_kept(base_folder):
    base = read_base(base_folder)
    assert all(name.startswith(("items.fusion.", "history.")) for name in base.weights)
    sizes = [weight.shape[0] for weight in base.weights.values()]
    assert not {41, 82} & set(sizes)  # the items of one catalog, of both
    files = {path.name for path in base_folder.rglob("*") if path.is_file()}
    assert files == {
        "base.json", "base.safetensors", "config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip


def test_it_is_read_as_it_was_written(toys, base_folder, tmp_path):
    base = read_base(base_folder)
    base.write(tmp_path / "again")
    again = read_base(tmp_path / "again")
    assert again.digest == base.digest
    assert (again.config, again.learned, again.fingerprints) == (
        base.config, base.learned, base.fingerprints,
    )  # fmt: skip


def test_a_first_day_recommends_from_the_base_alone(toys, base_folder, tmp_path):
    """No interaction is learned from, and what comes next on a ring is found by content."""
    shop = other_shop(toys)
    model = fit(shop, begun(toys, base_folder, epochs=0))
    assert not model.network.items.trained.any()
    assert not model.counts.taken.any()
    cases = model.split.cases("test").in_rows(model.rows)
    ranked, _ = model.scorer.rank(cases.histories, 3, never=cases.histories)
    hits = (ranked == cases.targets[:, None]).any(1)
    assert hits.mean() > 0.9
    kept = Recommender(model)
    kept.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.recommend(k=4).equals(kept.recommend(k=4))
    assert loaded.recommend(histories=[["x1"]], k=40).num_rows == 40


def test_vectors_of_the_first_day_do_not_hang_on_who_took_what(toys, base_folder):
    shop = other_shop(toys)
    few = replace(shop, interactions=some_users(other_rows(toys), 12))
    one, other = (fit(of, begun(toys, base_folder, epochs=0)) for of in (shop, few))
    torch.testing.assert_close(one.scorer.vectors, other.scorer.vectors)


def test_a_training_begins_from_the_base(toys, base_folder):
    """Before a step the network is the base's but for what the shop adds."""
    model = fit(other_shop(toys), begun(toys, base_folder, epochs=1, tasks={}, learning_rate=1e-9))
    base, state = read_base(base_folder), model.network.state_dict()
    for name, weight in base.weights.items():
        torch.testing.assert_close(state[name], weight)
    for name, weight in base.t5.encoder.state_dict().items():
        torch.testing.assert_close(model.network.t5.encoder.state_dict()[name], weight)
    assert model.network.items.trained.any()
    assert model.config.model.base is None  # a model carries no path


def test_it_learns_faster_than_from_nothing(toys, base_folder):
    one = {"epochs": 1, "tasks": {}}
    begun_ = fit(other_shop(toys), begun(toys, base_folder, **one)).training_log[0]
    scratch = fit(other_shop(toys), toys.toy_config(**one)).training_log[0]
    assert begun_["ndcg@10"] > scratch["ndcg@10"] + 0.1


def test_the_whole_training_works_from_a_base(toys, base_folder):
    model = fit(other_shop(toys), begun(toys, base_folder, epochs=2))
    assert model.fitted.task_log
    assert Recommender(model).recommend(k=2).num_rows == 2 * len(model.user_ids)


def test_other_sizes_are_told(toys, base_folder):
    config = begun(toys, base_folder)
    config = replace(config, model=replace(config.model, soft_tokens=1))
    with pytest.raises(InputError, match=r"type --model\.soft_tokens 2"):
        fit(toys.toy_dataset(), config)


def test_another_encoder_is_refused(toys, base_folder, monkeypatch):
    config = begun(toys, base_folder)
    config = replace(config, encoders=replace(config.encoders, text="embedded"))
    with pytest.raises(InputError, match="text vectors are made by another encoder"):
        fit(toys.toy_dataset(), config)


def test_a_shop_may_lack_a_modality(toys, base_folder):
    config = begun(toys, base_folder, epochs=0)
    config = replace(config, encoders=replace(config.encoders, others=()))
    model = fit(toys.toy_dataset(), config)
    assert set(model.content.dims) == {"text", "style"}
    assert not model.content.present["style"].any()


def test_a_shop_may_have_a_modality_more(toys, tmp_path):
    config = of_base(toys, epochs=1)
    alone = replace(config, encoders=replace(config.encoders, others=()))
    pretrain({"toy": toys.toy_dataset()}, alone).write(tmp_path / "base")
    model = fit(toys.toy_dataset(), begun(toys, tmp_path / "base", epochs=1, tasks={}))
    assert set(model.content.dims) == {"text", "style"}
    assert model.content.present["style"].any()


def test_nothing_to_learn_needs_a_base(toys):
    with pytest.raises(InputError, match=r"--model\.base BASE"):
        fit(toys.toy_dataset(), toys.toy_config(epochs=0))


def test_a_folder_that_is_no_base_is_refused(toys, tmp_path):
    with pytest.raises(InputError, match=r"no base folder.*p5mm pretrain"):
        fit(toys.toy_dataset(), begun(toys, tmp_path))


def test_a_catalog_without_content_is_refused(toys):
    config = of_base(toys)
    config = replace(config, encoders=replace(config.encoders, text="none", others=()))
    with pytest.raises(InputError, match="toy has neither pictures nor texts"):
        pretrain({"toy": toys.toy_dataset()}, config)


def test_a_domain_of_too_few_is_named(toys):
    whole = toys.toy_dataset()
    few = replace(whole, interactions=Interactions.from_rows([("u", "r0s0", 1), ("u", "r0s1", 2)]))
    with pytest.raises(InputError, match="few: no user has three"):
        pretrain({"whole": whole, "few": few}, of_base(toys))


def test_an_interrupted_pretraining_goes_on_to_the_same_base(toys, tmp_path, monkeypatch):
    data, config = {"toy": toys.toy_dataset()}, of_base(toys, epochs=3)
    whole, save = pretrain(data, config), Checkpoint.save

    def killed(self, progress, tensors):
        save(self, progress, tensors)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(data, config, checkpoint=tmp_path)
    monkeypatch.undo()
    assert pretrain(data, config, checkpoint=tmp_path).digest == whole.digest


def test_a_batch_is_of_one_domain_and_so_are_its_negatives(toys):
    whole = toys.toy_dataset()
    domains = joined({"a": whole, "b": whole})
    assert [of.start for of in domains] == [0, 41]
    mixture = Mixture([Passes(of.train, 8, 64, 0) for of in domains], 0)
    model = pretrain_network(toys, domains)
    objective = DomainObjective(0, starts=(0, 41))
    seen = set()
    for batch in mixture(0):
        rows = batch.targets[batch.targets >= 0]
        of = int(rows.max() >= 41)
        assert ((rows >= 41) == of).all()
        pool = objective.pool(model, batch)
        assert ((pool >= 41) == of).all()
        assert len(pool) == 40  # all but the one that nobody took
        seen.add(of)
    assert seen == {0, 1}


def pretrain_network(toys, domains):
    trained = torch.zeros(82, dtype=torch.bool)
    for of in domains:
        trained[torch.from_numpy(of.train.items)] = True
    sizes = T5Config.nano(16, 1, 0.1, 20)
    items = ItemTokens(None, {}, {}, trained, 16, 1, 0.0)
    return Network(items, T5(sizes), 0.0625, RelationReader(3, 4, 4, sizes))


def test_steps_go_by_the_root_of_the_size():
    large, small = (Passes(Histories.from_lists([[0, 1, 2, 3]] * n), 8, 16, 0) for n in (400, 100))
    mixture = Mixture([large, small], 0)
    assert mixture.counts == [83, 42]  # of 125 steps two thirds, not four fifths
    assert len(list(mixture(0))) == mixture.steps == 125


def test_a_pass_is_the_same_again_and_the_next_another(toys):
    (of,) = joined({"toy": toys.toy_dataset()})
    mixture = Mixture([Passes(of.train, 8, 64, 0)] * 2, 0)
    first, again, other = (
        [batch.targets.tolist() for batch in mixture(number)] for number in (0, 0, 1)
    )
    assert first == again != other


def test_ratings_of_each_domain_have_their_own_scale(toys):
    (of,) = joined({"toy": toys.toy_dataset()})
    assert abs(np.nanmean(of.train.ratings)) < 1e-5
    assert np.nanstd(of.train.ratings) == pytest.approx(1, abs=1e-5)


def test_features_of_two_encoders_do_not_mix():
    def made(fingerprint):
        return Features("text", "toy", fingerprint, np.ones((2, 3), np.float32), np.ones(2, bool))

    (whole,) = joined_features([[made("a")], []], [2, 3])
    assert whole.vectors.shape == (5, 3)
    assert whole.present.tolist() == [True, True, False, False, False]
    with pytest.raises(InputError, match="two encoders"):
        joined_features([[made("a")], [made("b")]], [2, 2])


def test_a_shop_without_a_log_recommends_to_who_brings_a_history(toys, base_folder, tmp_path):
    nobody = Interactions.empty()
    shop = Dataset(toys.toy_catalog(), nobody, nobody)
    recommender = Recommender(fit(shop, begun(toys, base_folder, epochs=0)))
    recommender.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.recommend(k=3).num_rows == 0
    for ring in range(4):
        history = [toys.ring_item(ring, step) for step in (1, 2, 3)]
        (first, *_) = loaded.recommend(histories=[history], k=2)["item_id"].to_pylist()
        assert first == toys.ring_item(ring, 4)


def test_a_training_needs_a_log(toys, base_folder):
    nobody = Interactions.empty()
    with pytest.raises(InputError, match="no user has three interactions"):
        fit(Dataset(toys.toy_catalog(), nobody, nobody), begun(toys, base_folder, epochs=1))


def test_other_titles_do_not_go_on_with_a_pretraining(toys, tmp_path):
    def of(word):
        table = toys.toy_catalog().table
        texts = [t and t.replace("ring", word) for t in table["title"].to_pylist()]
        place = table.column_names.index("title")
        catalog = Catalog.from_table(table.set_column(place, "title", pa.array(texts)))
        return {"toy": replace(toys.toy_dataset(), catalog=catalog)}

    pretrain(of("ring"), of_base(toys, epochs=1), checkpoint=tmp_path)
    with pytest.raises(InputError, match="an unfinished training with other settings"):
        pretrain(of("loop"), of_base(toys, epochs=1), checkpoint=tmp_path)


def test_a_first_day_with_the_settings_of_a_full_shop(toys, base_folder):
    """A k-core and a split by time ask nothing of an empty log."""
    nobody = Interactions.empty()
    config = begun(toys, base_folder, epochs=0)
    config = replace(config, data=replace(config.data, k_core=5, split="time"))
    model = fit(Dataset(toys.toy_catalog(), nobody, nobody), config)
    assert not len(model.split.train.items)
    assert Dataset(toys.toy_catalog(), nobody, nobody).renumbered(1).log.item_ids == []


def adapted_to(toys, base_folder, how, checkpoint=None):
    config = begun(toys, base_folder, epochs=2, tasks={}, adapt=how)
    return fit(other_shop(toys), config, checkpoint=checkpoint)


def test_a_frozen_encoder_stays_the_base_s(toys, base_folder):
    base, model = read_base(base_folder), adapted_to(toys, base_folder, "frozen")
    for name, weight in base.t5.encoder.state_dict().items():
        torch.testing.assert_close(model.network.t5.encoder.state_dict()[name], weight)
    fusion = {n: w for n, w in base.weights.items() if n.startswith("items.fusion.project")}
    state = model.network.state_dict()
    assert not any(torch.equal(state[name], weight) for name, weight in fusion.items())
    assert all(p.requires_grad for p in model.network.parameters())


def test_lora_adds_to_each_matrix_of_the_encoder_what_has_a_low_rank(toys, base_folder, tmp_path):
    base, model = read_base(base_folder), adapted_to(toys, base_folder, "lora")
    encoder, before = model.network.t5.encoder, base.t5.encoder.state_dict()
    assert set(encoder.state_dict()) == set(before)  # nothing of how it was learned is left
    for name, weight in encoder.state_dict().items():
        change = weight - before[name]
        if name.endswith("weight") and weight.ndim == 2 and "bias" not in name:
            assert change.abs().max() > 0
            sizes = torch.linalg.svdvals(change)
            assert (sizes[RANK:] < 1e-4 * sizes[0]).all()
        else:
            assert not change.any()
    assert all(p.requires_grad for p in model.network.parameters())
    Recommender(model).save(tmp_path / "model")
    assert Recommender.load(tmp_path / "model").recommend(k=2).num_rows == 2 * len(model.user_ids)


def test_lora_goes_on_after_an_interruption_to_the_same_model(
    toys, base_folder, tmp_path, monkeypatch
):
    whole = adapted_to(toys, base_folder, "lora")
    epochs = []

    def killed(training):
        epochs.append(training)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return saved(training)

    saved = Training._save
    monkeypatch.setattr(Training, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        adapted_to(toys, base_folder, "lora", tmp_path)
    monkeypatch.undo()
    again = adapted_to(toys, base_folder, "lora", tmp_path)
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], weight)


def test_what_begins_from_nothing_learns_all(toys):
    with pytest.raises(InputError, match=r"train\.adapt is lora, and a nano T5 begins"):
        fit(toys.toy_dataset(), toys.toy_config(epochs=1, adapt="lora"))
    with pytest.raises(InputError, match=r"train\.adapt is frozen; all of a base learns"):
        pretrain({"toy": toys.toy_dataset()}, of_base(toys, epochs=1, adapt="frozen"))
