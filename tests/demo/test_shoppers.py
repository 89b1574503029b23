import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from p5mm.data.histories import Histories
from p5mm.data.split import LeaveOneOut
from p5mm.demo.colours import COLOURS, colour_shares
from p5mm.demo.shoppers import open_shop, simulate
from p5mm.demo.truth import new_item_lift, oracle_metrics, utilities_after


def histories(taken) -> Histories:
    return Histories.from_lists([row[row >= 0] for row in taken])


def test_nobody_takes_a_sticker_twice(shop, taken):
    for row, length in zip(taken, shop.lengths, strict=True):
        mine = row[row >= 0]
        assert len(mine) == length == len(set(mine.tolist()))
        assert (row[length:] == -1).all()


def test_new_stickers_are_in_no_history(shop, taken):
    assert 1 <= shop.is_new.sum() < len(shop.is_new) / 5
    assert not shop.is_new[taken[taken >= 0]].any()


def test_the_seed_decides_everything(shop, taken):
    again = open_shop([str(c) for c in shop.category], shop.colours, shoppers=200, seed=3)
    other = open_shop([str(c) for c in shop.category], shop.colours, shoppers=200, seed=4)
    np.testing.assert_array_equal(simulate(again, 3), taken)
    assert not np.array_equal(simulate(other, 4), taken)


def test_draws_follow_the_softmax_of_the_utilities(shop):
    """Twenty thousand shoppers of one taste: the first sticker's frequencies are the softmax."""
    n = 20_000
    crowd = replace(
        shop,
        loves=np.repeat(shop.loves[:, :1], n, axis=1),
        favours=np.repeat(shop.favours[:1], n, axis=0),
        likes=np.repeat(shop.likes[:1], n, axis=0),
        lengths=np.ones(n, dtype=np.int64),
    )
    row = np.zeros(1, dtype=np.int64)
    odds = np.exp(crowd.utilities(row, row - 1, row)[0]) * ~shop.is_new
    shares = np.bincount(simulate(crowd, 0)[:, 0], minlength=len(odds)) / n
    assert np.abs(shares - odds / odds.sum()).max() < 0.02


def test_utility_rises_with_each_part_of_the_taste(shop):
    user, none = np.zeros(1, dtype=np.int64), np.full(1, -1)
    base = shop.utilities(user, none, user)[0]
    loved = int(np.argmax(shop.loves[0, 0][shop.theme]))
    without = replace(shop, loves=np.zeros_like(shop.loves))
    gain = base[loved] - without.utilities(user, none, user)[0][loved]
    assert gain == pytest.approx(shop.taste.theme)
    after = shop.utilities(user, np.array([loved]), user)[0]
    assert after[loved] > base[loved] + shop.taste.same_theme - 1e-5


def test_a_taste_drifts_from_its_beginning_to_its_end(shop):
    user, none = np.zeros(1, dtype=np.int64), np.full(1, -1)
    last = shop.lengths[:1] - 1
    begin, end = (shop.utilities(user, none, at)[0] for at in (last * 0, last))
    expected = shop.taste.theme * (shop.loves[1, 0] - shop.loves[0, 0])[shop.theme]
    np.testing.assert_allclose(end - begin, expected, atol=1e-5)


def test_the_log_has_times_in_order_and_states_the_model(log, shop, taken, items):
    table = pq.read_table(log)
    assert table.column_names == ["user_id", "item_id", "timestamp"]
    assert table.num_rows == (taken >= 0).sum()
    users = np.array(table["user_id"])
    times = table["timestamp"].to_numpy()
    assert ((np.diff(times) >= 0) | (users[1:] != users[:-1])).all()
    stated = json.loads((log.parent / "taste.json").read_text())
    assert stated["simulated"] is True
    new = {items[row].item_id for row in np.flatnonzero(shop.is_new)}
    assert set(stated["new_items"]) == new
    assert not new & set(table["item_id"].to_pylist())


def test_the_oracle_is_far_above_chance(shop, taken):
    cases = LeaveOneOut(histories(taken)).cases("test")
    rows = np.arange(len(shop.theme))
    oracle = oracle_metrics(shop, cases, rows, seed=0)
    assert oracle["recall@5"].value > 3 * 5 / 50
    assert oracle["recall@5"].low <= oracle["recall@5"].value <= oracle["recall@5"].high
    shuffled = replace(cases, users=np.roll(cases.users, 1))
    assert oracle_metrics(shop, shuffled, rows, seed=0)["mrr"].value < oracle["mrr"].value
    sold = np.flatnonzero(~shop.is_new)
    number = np.cumsum(~shop.is_new) - 1
    among = replace(
        cases,
        histories=replace(cases.histories, items=number[cases.histories.items]),
        targets=number[cases.targets],
    )
    # without the new stickers, which nobody takes, there is less to be wrong about
    assert oracle_metrics(shop, among, sold, seed=0)["mrr"].value > oracle["mrr"].value


def test_lift_is_one_for_chance_and_perfect_for_the_truth(shop, taken):
    log = histories(taken)
    truth = utilities_after(shop, np.arange(len(log)), log)
    odds = np.exp(truth)
    odds[np.repeat(np.arange(len(log)), log.lengths), log.items] = 0
    by_truth = np.argsort(np.argsort(-(odds / odds.sum(axis=1, keepdims=True)), axis=0), axis=0)
    best = new_item_lift(shop, log, by_truth[:, shop.is_new])
    assert best.model == pytest.approx(best.perfect)
    assert best.perfect > 1.2
    rng = np.random.default_rng(0)
    n_new = int(shop.is_new.sum())
    chance = [
        new_item_lift(shop, log, rng.permuted(np.tile(np.arange(len(log))[:, None], n_new), axis=0))
        for _ in range(40)
    ]
    assert np.mean([lift.model for lift in chance]) == pytest.approx(1.0, abs=0.25)


def test_colours_are_those_of_the_picture(tmp_path):
    for name, rgb in (("red", (230, 60, 50)), ("ink", (0, 0, 0)), ("half", (146, 211, 245))):
        picture = Image.new("RGB", (80, 80), rgb)
        if name == "half":
            picture.paste((92, 158, 49), (0, 0, 80, 40))
        picture.save(tmp_path / f"{name}.png")
    shares = colour_shares([tmp_path / f"{name}.png" for name in ("red", "ink", "half")])
    assert shares[0, COLOURS.index("red")] == 1
    assert not shares[1].any()
    assert shares[2, COLOURS.index("blue")] == pytest.approx(0.5, abs=0.05)
    assert shares[2, COLOURS.index("green")] == pytest.approx(0.5, abs=0.05)
