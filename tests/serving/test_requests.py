"""Who asks: users of the log, histories, and both in one table."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from p5mm.errors import InputError
from p5mm.serving.requests import Requests

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
    assert "1 user is not in the log, such as 'nobody'" in caplog.text
    assert "left out of 1 history: 2 items not in the catalog" in caplog.text
    with pytest.raises(InputError, match="unknown item 'nothing'"):
        shop.recommend(["a"], histories=[[*WALK, "nothing"]])
    with pytest.raises(InputError, match="not in the log, such as 'nobody'"):
        shop.recommend(["nobody", "b"], histories=[None, WALK])


def test_where_nobody_can_be_served_it_is_an_error(shop):
    with pytest.raises(InputError, match="2 users are not in the log"):
        shop.recommend(["nobody", "no one"], strict=False)


def test_parts_are_the_whole(toy):
    asked = Requests.of(toy, None, None, strict=True)
    parts = [asked.select(np.arange(n, min(n + 32, len(asked)))) for n in range(0, len(asked), 32)]
    assert [name for part in parts for name in part.names] == toy.user_ids
    assert np.concatenate([part.histories.items for part in parts]).tolist() == (
        toy.histories.items.tolist()
    )


def test_a_pair_of_an_unknown_id_has_no_score_and_stops_no_other(shop, caplog):
    pairs = pa.table(
        {
            "user_id": ["u1", "nobody", "u1", "u2"],
            "history": pa.array([None, None, None, ["r0s1", "nothing"]], pa.list_(pa.string())),
            "item_id": ["r1s1", "r1s1", "nowhere", "r2s2"],
        }
    )
    scores = shop.score(pairs, strict=False)["score"].to_pylist()
    assert [score is None for score in scores] == [False, True, True, False]
    expected = shop.score(pa.table({"user_id": ["u1"], "item_id": ["r1s1"]}))["score"][0].as_py()
    assert scores[0] == pytest.approx(expected, abs=1e-4)
    listed = pa.table({"history": [["r0s1"]], "item_id": ["r2s2"]})
    assert scores[3] == pytest.approx(shop.score(listed)["score"][0].as_py(), abs=1e-4)
    for words in ("'nobody'", "1 pair with an item that is not in the catalog", "'nothing'"):
        assert words in caplog.text
    for row in (1, 2, 3):
        with pytest.raises(InputError):
            shop.score(pairs.slice(row, 1))


@pytest.mark.parametrize("frame", ["to_pandas", "polars"])
def test_frames_are_scored_as_tables_are(shop, frame):
    pairs = pa.table({"userId": ["u1", "u5"], "item_id": ["r1s1", "cold"]})
    given = pl.from_arrow(pairs) if frame == "polars" else pairs.to_pandas()
    scored = shop.score(given)
    assert scored.column_names == ["user_id", "item_id", "score"]
    assert scored.equals(shop.score(pairs))
