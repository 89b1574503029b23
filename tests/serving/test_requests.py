"""Who asks: users of the log, histories, and both in one table."""

import numpy as np
import pytest

from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.serving.requests import Requests, joined

WALK = ["r2s3", "r2s4"]


def items(model, requests, place):
    return [model.catalog.item_ids[row] for row in requests.histories[place]]


def test_no_history_means_the_logs(toy):
    """Issue: a known user without a history in a table with some had an empty one."""
    users, histories = ["u3", "new", "u5", "bare"], [None, WALK, None, []]
    asked = Requests.of(toy, users, histories, strict=True)
    assert asked.names == users
    log = Requests.of(toy, ["u3", "u5"], None, strict=True)
    assert items(toy, asked, 0) == items(toy, log, 0)
    assert items(toy, asked, 1) == WALK
    assert items(toy, asked, 2) == items(toy, log, 1)
    assert items(toy, asked, 3) == []
    lengths = asked.histories.lengths
    ratings = np.split(asked.histories.ratings, np.cumsum(lengths)[:-1])
    assert not np.isnan(ratings[0]).any()  # the log's ratings are known, a list's are not
    assert np.isnan(ratings[1]).all()


def test_scores_do_not_depend_on_who_stands_beside(shop):
    alone = shop.recommend(["u3"], k=5)
    mixed = shop.recommend(["new", "u3"], histories=[WALK, None], k=5).slice(5)
    assert mixed["item_id"].equals(alone["item_id"])
    np.testing.assert_allclose(mixed["score"], alone["score"], atol=1e-4)


def test_one_unknown_id_does_not_stop_all_others(shop, caplog):
    lists = [[*WALK, "nothing", "nowhere"], None, None]
    table = shop.recommend(["a", "u3", "nobody"], histories=lists, k=2, strict=False)
    assert table["user_id"].to_pylist() == ["a", "a", "u3", "u3"]
    expected = shop.recommend(["a", "u3"], histories=[WALK, None], k=2)
    assert table["item_id"].equals(expected["item_id"])
    assert "1 users are not in the log, such as 'nobody'" in caplog.text
    assert "left out of 1 histories: 2 items that are not in the catalog" in caplog.text
    with pytest.raises(InputError, match="unknown item 'nothing'"):
        shop.recommend(["a"], histories=[[*WALK, "nothing"]])
    with pytest.raises(InputError, match="not in the log, such as 'nobody'"):
        shop.recommend(["nobody", "b"], histories=[None, WALK])


def test_histories_joined_are_those_of_both():
    rated = Histories(np.array([3, 1]), np.array([0, 2]), np.array([5, 2], np.float32))
    plain = Histories.from_lists([[4], [], [2, 2]])
    whole = joined(rated, plain)
    assert [whole[i].tolist() for i in range(4)] == [[3, 1], [4], [], [2, 2]]
    np.testing.assert_array_equal(whole.ratings, [5, 2, np.nan, np.nan, np.nan])
    assert joined(plain, plain).ratings is None
    assert len(joined(Histories.from_lists([]), plain)) == 3


def test_parts_are_the_whole(toy):
    asked = Requests.of(toy, None, None, strict=True)
    parts = [asked.part(start, start + 32) for start in range(0, len(asked), 32)]
    assert [name for part in parts for name in part.names] == toy.user_ids
    assert np.concatenate([part.histories.items for part in parts]).tolist() == (
        toy.histories.items.tolist()
    )
