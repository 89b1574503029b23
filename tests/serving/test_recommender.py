"""The verbs on a toy shop whose next item is known."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.errors import InputError
from p5mm.metrics.validation import validation_metrics
from p5mm.serving.recommender import Recommender

WALK = ["r2s3", "r2s4", "r2s5"]
NEXT = "r2s6"


def ranking(table, user):
    rows = table.filter(pc.equal(table["user_id"], user))
    assert rows["rank"].to_pylist() == list(range(1, rows.num_rows + 1))
    scores = rows["score"].to_numpy()
    assert (np.diff(scores) <= 0).all()
    return rows["item_id"].to_pylist()


def history_of(model, user):
    return [model.model.catalog.item_ids[row] for row in model.histories_of([user])[0]]


def test_it_has_learned_what_comes_next(plain):
    metrics = validation_metrics(
        plain.model.scorer.among(plain.model.rows), plain.model.split.cases("test")
    )
    assert metrics["ndcg@10"] > 0.9
    assert ranking(plain.recommend(histories=[WALK]), "0")[0] == NEXT


def test_everybody_gets_k_new_items(shop):
    table = shop.recommend(k=4)
    assert table.schema.names == ["user_id", "item_id", "score", "rank"]
    assert table.num_rows == 4 * len(shop.model.user_ids)
    for user in shop.model.user_ids:
        items = ranking(table, user)
        assert len(set(items)) == 4
        assert not set(items) & set(history_of(shop, user))


def test_some_users_in_the_order_given(shop):
    table, everybody = shop.recommend(["u7", "u2"], k=3), shop.recommend(k=3)
    assert table["user_id"].to_pylist() == ["u7"] * 3 + ["u2"] * 3
    for user in ("u7", "u2"):
        assert ranking(table, user) == ranking(everybody, user)


def test_a_user_equals_a_stranger_with_the_same_history(shop):
    """But for the ratings, which a list of items does not tell."""
    names = [f"stranger of {user}" for user in shop.model.user_ids]
    lists = [history_of(shop, user) for user in shop.model.user_ids]
    strangers = shop.recommend(names, histories=lists, k=5)
    log = shop.model.log.table.drop_columns(["rating"])
    known = Recommender(replace(shop.model, log=Interactions(log))).recommend(k=5)
    assert strangers["item_id"].equals(known["item_id"])
    np.testing.assert_allclose(strangers["score"], known["score"], atol=1e-5)
    assert not known["score"].equals(shop.recommend(k=5)["score"])  # ratings do count


def test_a_batch_equals_each_alone(shop):
    histories = [WALK, [], ["r0s1"], [f"r3s{i}" for i in range(9)]]
    together = shop.recommend(list("abcd"), histories=histories, k=6)
    for name, one in zip("abcd", histories, strict=True):
        alone = shop.recommend([name], histories=[one], k=6)
        rows = together.filter(pc.equal(together["user_id"], name))
        assert rows["item_id"].equals(alone["item_id"])
        np.testing.assert_allclose(rows["score"], alone["score"], atol=1e-4)


def test_nothing_known_of_a_user_and_no_users_at_all(shop):
    assert len(ranking(shop.recommend(histories=[[]], k=5), "0")) == 5
    assert shop.recommend([], k=5).num_rows == 0
    assert shop.recommend(histories=[]).schema == shop.recommend(k=1).schema


def test_seen_items_can_be_kept(shop):
    walk = [f"r1s{i}" for i in range(6)]
    kept = ranking(shop.recommend(histories=[walk], k=41, filter_seen=False), "0")
    new = ranking(shop.recommend(histories=[walk], k=41), "0")
    assert set(kept) == set(shop.model.catalog.item_ids)
    assert set(kept) - set(new) == set(walk)


def test_more_items_than_there_are(shop):
    items = ranking(shop.recommend(histories=[WALK], k=1000), "0")
    assert set(items) == set(shop.model.catalog.item_ids) - set(WALK)
    for k in (1, 5, 12, 13, 30):  # 12 candidates are reranked; the order never changes with k
        assert ranking(shop.recommend(histories=[WALK], k=k), "0") == items[:k]
    assert shop.recommend(histories=[shop.model.catalog.item_ids], k=3).num_rows == 0


def test_item_repeated_in_a_history(shop):
    assert ranking(shop.recommend(histories=[[*WALK, WALK[0]]], k=3), "0")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"users": ["u0", "u999"]}, "1 user is not in the log, such as 'u999'"),
        ({"histories": [["r0s1", "r0s11"]]}, "unknown item 'r0s11'; did you mean"),
        ({"users": ["a"], "histories": [[], []]}, "1 users for 2 histories"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_what_is_unknown_is_told(shop, given, message):
    with pytest.raises(InputError, match=message):
        shop.recommend(**given)


def test_scores_of_pairs_are_those_of_recommend_in_the_order_given(shop):
    table = shop.recommend(["u1", "u2"], k=8)
    order = np.random.default_rng(0).permutation(table.num_rows)
    pairs = table.select(["item_id", "user_id"]).take(pa.array(order))
    scored = shop.score(pairs.append_column("note", pa.array(order)))
    assert scored.column_names == ["item_id", "user_id", "note", "score"]
    assert scored.select(["item_id", "user_id"]).equals(pairs)
    np.testing.assert_allclose(scored["score"], table["score"].to_numpy()[order], atol=1e-4)


def test_scores_by_history(shop):
    table = shop.recommend(histories=[WALK, []], k=5)
    lists = [WALK if user == "0" else [] for user in table["user_id"].to_pylist()]
    pairs = pa.table({"history": pa.array(lists, pa.list_(pa.string())),
                      "item_id": table["item_id"]})  # fmt: skip
    np.testing.assert_allclose(shop.score(pairs)["score"], table["score"], atol=1e-4)


def test_an_old_score_column_is_replaced_and_no_pairs_are_fine(shop):
    pairs = pa.table({"user_id": ["u1"], "item_id": ["r1s1"], "score": [7.0]})
    assert shop.score(pairs)["score"].to_pylist() != [7.0]
    assert shop.score(pairs.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["u1"]}, "item_id"),
        ({"item_id": ["r1s1"]}, "user_id"),
        ({"user_id": ["u1", None], "item_id": ["r1s1", "r1s2"]}, "row 2 has no user_id"),
        ({"user_id": ["u1"], "item_id": ["r1s1x"]}, "unknown item 'r1s1x'"),
        ({"user_id": ["nobody"], "item_id": ["r1s1"]}, "not in the log, such as 'nobody'"),
    ],
)
def test_pairs_that_cannot_be_scored(shop, columns, message):
    with pytest.raises(InputError, match=message):
        shop.score(pa.table(columns))


def test_an_item_never_taken_is_ranked_by_its_content(plain):
    assert not bool(plain.model.network.items.trained[plain.model.catalog.rows["cold"]])

    def rank(ring):  # after steps 1, 2, 3 comes step 4, and "cold" looks like r0s4
        table = plain.recommend(histories=[[f"r{ring}s{step}" for step in (1, 2, 3)]], k=99)
        return ranking(table, "0").index("cold") + 1

    assert rank(0) <= 3
    assert all(rank(ring) > rank(0) for ring in (1, 2, 3))


def test_an_item_of_which_nothing_is_known_is_not_recommended(toys):
    rows = toys.toy_catalog().table.to_pylist()
    catalog = Catalog.from_table(
        pa.Table.from_pylist([*rows, {"item_id": "ghost"}], schema=toys.SCHEMA)
    )
    log = Interactions.from_rows(toys.toy_rows())
    model = Recommender.fit(Dataset(catalog, log, log), toys.toy_config(epochs=1))
    assert "ghost" not in ranking(model.recommend(histories=[[]], k=99), "0")
    scored = model.score(pa.table({"user_id": ["u0"], "item_id": ["ghost"]}))
    assert np.isfinite(scored["score"].to_numpy()).all()


def test_evaluation_and_recommend_rank_alike(shop):
    cases = shop.model.split.cases("test")
    histories = [
        [shop.model.fitted.items[i] for i in cases.histories[u]] for u in range(len(cases))
    ]
    unrated = replace(cases.histories, ratings=None)  # as strangers' histories are
    scores = shop.model.scorer.among(shop.model.rows).scores(unrated)
    scores[np.repeat(np.arange(len(cases)), unrated.lengths), unrated.items] = -np.inf
    best = [shop.model.fitted.items[i] for i in scores.argmax(1)]
    table = shop.recommend(histories=histories, k=2)
    first = {}
    for row in table.to_pylist():
        if row["item_id"] != "cold":
            first.setdefault(row["user_id"], row["item_id"])
    assert [first[str(u)] for u in range(len(cases))] == best


def test_catalog_order_does_not_matter(toys, plain):
    order = np.random.default_rng(5).permutation(len(plain.model.catalog))
    other = Recommender.fit(toys.toy_dataset(order), toys.toy_config())
    one, two = (
        validation_metrics(model.scorer.among(model.rows), model.split.cases("test"))["ndcg@10"]
        for model in (plain.model, other.model)
    )
    assert two == pytest.approx(one, abs=0.08)
    assert ranking(other.recommend(histories=[WALK]), "0")[0] == NEXT


def test_the_same_seed_gives_the_same_model(toys):
    config = toys.toy_config(epochs=1)
    one, two = (Recommender.fit(toys.toy_dataset(), config) for _ in range(2))
    assert one.recommend(k=3).equals(two.recommend(k=3))


# The folder


@pytest.fixture(scope="module")
def saved(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    shop.save(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def test_a_saved_model_recommends_the_same(shop, saved):
    again = Recommender.load(saved)
    assert again.recommend(k=5).equals(shop.recommend(k=5))
    pairs = pa.table({"user_id": ["u1", "u5"], "item_id": ["r1s1", "cold"]})
    assert again.score(pairs).equals(shop.score(pairs))
    assert again.similar_items(["cold"]).equals(shop.similar_items(["cold"]))
    assert again.model.fitted == shop.model.fitted
    assert again.model.config == shop.model.config
    assert again.model.split.log.items.tolist() == shop.model.split.log.items.tolist()


def test_a_loaded_model_can_be_saved_over(copy):
    model = Recommender.load(copy)
    before = model.recommend(k=3)
    model.save(copy)
    assert Recommender.load(copy).recommend(k=3).equals(before)


def test_the_t5_in_the_folder_opens_with_transformers(shop, saved):
    from transformers import T5ForConditionalGeneration

    theirs, about = T5ForConditionalGeneration.from_pretrained(
        saved / "t5", output_loading_info=True
    )
    assert not any(about[kind] for kind in ("missing_keys", "unexpected_keys"))
    ours, theirs = shop.model.network.t5, theirs.eval()
    ids = torch.randint(ours.config.vocab_size, (2, 6))
    with torch.no_grad():
        expected = theirs.encoder(input_ids=ids).last_hidden_state
        found = ours.encoder(ours.shared(ids), causal=False)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        logits = theirs(input_ids=ids, decoder_input_ids=ids).logits
        everything = torch.ones(2, 1, 6, dtype=torch.bool)
        states = ours.decoder(ours.shared(ids)[:, None], 6, found, everything)[:, 0]
        torch.testing.assert_close(ours.token_logits(states), logits, atol=1e-3, rtol=1e-3)


def test_a_pretrained_t5_is_trained_on_from_its_folder(toys, saved):
    """The folder's own T5 serves as the pretrained one."""
    config = toys.toy_config(epochs=1)
    config = replace(config, model=replace(config.model, t5=str(saved / "t5")))
    model = Recommender.fit(toys.toy_dataset(), config)
    assert model.model.network.t5.config.dropout_rate == config.model.dropout
    assert model.recommend(k=2).num_rows == 2 * len(model.model.user_ids)


def test_no_path_of_the_machine_is_in_the_folder(toys, tmp_path, plain):
    data = replace(plain.model.config.data, root="/home/someone/shop")
    config = replace(plain.model.config, data=data)
    Recommender(replace(plain.model, config=config)).save(tmp_path / "model")
    assert "someone" not in (tmp_path / "model" / "config.json").read_text()


@pytest.mark.parametrize("name", ["extra.pkl", "t5/pytorch_model.bin", "index/weights.PT"])
def test_a_pickle_in_the_folder_is_refused(copy, name):
    (copy / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="may be a pickle"):
        Recommender.load(copy)


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "content.safetensors", "t5/model.safetensors", "items.parquet",
     "interactions.parquet", "config.json", "t5/tokenizer.json", "t5/config.json",
     "counts.safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["cut", "empty", "gone"])
def test_a_damaged_folder_is_told(copy, name, how):
    file = copy / name
    content = file.read_bytes()
    file.unlink()
    if how != "gone":
        file.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    with pytest.raises(InputError):
        Recommender.load(copy)


def test_a_damaged_index_is_told(copy):
    for file in (copy / "index").iterdir():
        file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(InputError):
        Recommender.load(copy)


def test_a_later_format_is_told(copy):
    about = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(about | {"p5mm": 99}))
    with pytest.raises(InputError, match="written in format 99"):
        Recommender.load(copy)


def test_what_is_no_model_is_told(tmp_path):
    with pytest.raises(InputError, match="no model folder"):
        Recommender.load(tmp_path)


# What cannot be fitted


def test_a_log_that_is_too_short(toys):
    log = Interactions.from_rows([("u", "r0s1", 1), ("u", "r0s2", 2)])
    with pytest.raises(InputError, match="no user has three interactions"):
        Recommender.fit(Dataset(toys.toy_catalog(), log, log), toys.toy_config())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"tasks": {"sequental": 1.0}}}, "did you mean 'sequential'"),
        ({"train": {"tasks": {"explanation": 1.0}}}, "unknown task"),
        ({"train": {"tasks": {"review": 1.0}}}, "give the log a column headline"),
        ({"model": {"fusion": "gaet"}}, "did you mean 'gate'"),
        ({"model": {"t5": "./no/such"}}, "there is no T5 folder"),
        ({"encoders": {"others": ("vector:styel",)}}, "styel"),
        ({"encoders": {"others": ("vector:style", "vector:style")}}, "two encoders give"),
    ],
)
def test_settings_that_do_not_fit(toys, change, message):
    config = toys.toy_config()
    for part, values in change.items():
        config = replace(config, **{part: replace(getattr(config, part), **values)})
    with pytest.raises(InputError, match=message):
        Recommender.fit(toys.toy_dataset(), config)


def test_a_catalog_without_content_and_a_log_without_ratings(toys):
    rows = [row[:3] for row in toys.toy_rows()]
    log = Interactions.from_rows(rows)
    catalog = Catalog.from_table(pa.table({"item_id": toys.toy_catalog().item_ids}))
    base = toys.toy_config(epochs=1)
    config = replace(base, encoders=EncoderConfig())
    model = Recommender.fit(Dataset(catalog, log, log), config)
    assert model.model.fitted.levels == ()
    items = ranking(model.recommend(histories=[WALK], k=99), "0")
    assert "cold" not in items  # nothing is known of it
    assert len(items) == 40 - len(WALK)


def test_a_prompt_file_of_ones_own(toys, tmp_path):
    own = tmp_path / "prompts.txt"
    own.write_text("sequential | seen | was kommt als Nächstes ? | {item}\n", encoding="utf-8")
    config = toys.toy_config(epochs=1, tasks={"sequential": 0.5}, prompts=str(own))
    model = Recommender.fit(toys.toy_dataset(), config)
    words = model.model.tokenizer.decode([i for i in model.model.fitted.prompt if i > 0])
    assert words.strip() == "was kommt als Nächstes ?"
    model.save(tmp_path / "m")
    assert str(tmp_path) not in (tmp_path / "m" / "config.json").read_text()
    again = Recommender.load(tmp_path / "m")
    assert again.recommend(k=3).equals(model.recommend(k=3))
