"""Live users: what one item more gives is what the whole history gives, read anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from p5mm.errors import InputError
from p5mm.ranking.live_history import LiveHistory
from p5mm.serving.live_user import LiveUser
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit

ITEMS = st.lists(st.integers(0, 40), max_size=12)


def brief(model, longest=5):
    """The same model, which reads only so many items."""
    made = replace(model)
    scorer = model.scorer
    made.__dict__["scorer"] = replace(scorer, asking=replace(scorer.asking, max_history=longest))
    return made


@settings(max_examples=30)
@given(before=ITEMS, after=ITEMS)
def test_it_equals_reading_anew(toy, before, after):
    model = brief(toy)
    ids = model.catalog.item_ids
    user = LiveUser.of(model, [ids[row] for row in before])
    for row in after:
        user = user.append(ids[row])
    whole = [ids[row] for row in (*before, *after)]
    assert user.history == whole
    anew = model.scorer.encode(user.live.history)
    torch.testing.assert_close(user.live.encoded.last, anew.last, atol=1e-5, rtol=1e-5)
    places = user.live.memory.shape[1]
    torch.testing.assert_close(user.live.memory, anew.memory[:, :places], atol=1e-5, rtol=1e-5)
    wanted = Recommender(model).recommend(histories=[whole], k=6)
    found = user.recommend(6)
    assert found["item_id"].to_pylist() == wanted["item_id"].to_pylist()
    assert found["score"].to_pylist() == pytest.approx(wanted["score"].to_pylist(), abs=1e-4)
    assert found["rank"].to_pylist() == wanted["rank"].to_pylist()


def test_ratings_are_read(toys):
    """As with the log's: what is not rated counts as the mean."""
    model = fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={}))
    network = model.network
    network.history.rating.data.fill_(0.7)
    scale = replace(model.scorer.asking, rating_scale=(3.0, 2.0))
    scorer = replace(model.scorer, asking=scale)
    live = LiveHistory.of(scorer, LiveUser.of(model).live.history)
    for row, rating in ((3, 5.0), (4, float("nan")), (5, 1.0)):
        live = live.append(row, rating)
    assert live.history.ratings.tolist()[::2] == [5.0, 1.0]
    anew = scorer.encode(live.history)
    torch.testing.assert_close(live.encoded.last, anew.last, atol=1e-5, rtol=1e-5)
    plain = scorer.encode(replace(live.history, ratings=None))
    assert (anew.last - plain.last).abs().max() > 1e-3


def test_one_item_more_is_one_position_more(toy, monkeypatch):
    user = LiveUser.of(toy, toy.catalog.item_ids[:6])
    read = []
    attention = toy.network.t5.encoder.block[0].layer[0].sublayer.q
    handle = attention.register_forward_pre_hook(lambda _, args: read.append(args[0].shape[1]))
    user.append(toy.catalog.item_ids[7])
    handle.remove()
    assert read == [toy.network.items.k]


def test_it_is_saved_and_goes_on(toy, tmp_path):
    ids = toy.catalog.item_ids
    user = LiveUser.of(toy, ids[:3]).append(ids[9], 4.0).append(ids[8])
    user.save(tmp_path / "ann")
    again = LiveUser.load(toy, tmp_path / "ann")
    assert again.history == user.history
    np.testing.assert_array_equal(again.live.history.ratings, user.live.history.ratings)
    assert again.append(ids[5]).recommend(5).equals(user.append(ids[5]).recommend(5))
    LiveUser.of(toy).save(tmp_path / "nobody")
    assert LiveUser.load(toy, tmp_path / "nobody").history == []


def test_another_model_and_a_damaged_file_are_refused(toys, toy, tmp_path):
    user = LiveUser.of(toy, toy.catalog.item_ids[:3])
    user.save(tmp_path / "ann")
    other = fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={}, seed=5))
    with pytest.raises(InputError, match="written by another model"):
        LiveUser.load(other, tmp_path / "ann")
    arrays = load_file(tmp_path / "ann")
    for name, change in {
        "items": lambda of: of + 1_000,
        "memory": lambda of: of[:, :-1],
        "keys.0": lambda of: of * np.nan,
        "model": lambda of: of[:3],
    }.items():
        save_file(arrays | {name: np.ascontiguousarray(change(arrays[name]))}, tmp_path / "bad")
        with pytest.raises(InputError, match="bad"):
            LiveUser.load(toy, tmp_path / "bad")
    arrays.pop("values.0")
    save_file(arrays, tmp_path / "bad")
    with pytest.raises(InputError, match=r"values\.0"):
        LiveUser.load(toy, tmp_path / "bad")
    with pytest.raises(InputError, match="unknown item 'nothing'"):
        user.append("nothing")
    with pytest.raises(InputError, match="k is 0"):
        user.recommend(0)


def test_a_first_day_is_live_too(toys, tmp_path):
    from p5mm.pretraining.pretrain import pretrain

    pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=1, tasks={})).write(tmp_path / "b")
    config = toys.toy_config(epochs=0)
    model = fit(
        toys.toy_dataset(),
        replace(config, model=replace(config.model, base=str(tmp_path / "b"))),
    )
    ids = model.catalog.item_ids
    user = Recommender(model).live(ids[:2]).append(ids[4])
    wanted = Recommender(model).recommend(histories=[[*ids[:2], ids[4]]], k=5)
    assert user.recommend(5)["item_id"].to_pylist() == wanted["item_id"].to_pylist()
