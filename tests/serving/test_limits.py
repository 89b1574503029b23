"""Who may be shown what: exactly k items come back wherever k may."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.errors import InputError
from p5mm.ranking.places import BEYOND
from p5mm.serving.limits import Limits
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit

USERS = ["u1", "u2", "u3"]
ITEMS = st.lists(st.integers(0, 40), unique=True, max_size=41)


@pytest.fixture(scope="module")
def recommender(toy):
    """With fewer candidates than items, so that lists go beyond them."""
    scorer = replace(toy.scorer, asking=replace(toy.scorer.asking, candidates=6, newcomers=1))
    model = replace(toy)
    model.__dict__["scorer"] = scorer
    return Recommender(model)


def best(recommender, k, limits=None, users=USERS, **more):
    """Item ids of each user."""
    table = recommender.recommend(users, k=k, limits=limits, **more)
    found = {user: [] for user in users}
    for row in table.to_pylist():
        found[row["user_id"]].append(row["item_id"])
    return found


def names(recommender, rows):
    return [recommender.model.catalog.item_ids[row] for row in rows]


@given(ITEMS, ITEMS, ITEMS, ITEMS, st.integers(1, 45), st.booleans())
@settings(max_examples=40)
def test_as_many_come_as_may(recommender, allow, deny, own, never, k, kept):
    """Of each user the allowed items that are not denied, seen items aside."""
    model = recommender.model
    limits = Limits(
        names(recommender, allow) or None,
        names(recommender, deny),
        {"u2": names(recommender, own)},
        {"u3": names(recommender, never), "u2": names(recommender, never)},
    )
    free = set(allow or range(41)) - set(deny)
    if not free:
        with pytest.raises(InputError, match="nothing may be recommended"):
            recommender.recommend(USERS, k=k, limits=limits)
        return
    found = best(recommender, k, limits, filter_seen=not kept)
    for user in USERS:
        may = set(free)
        may &= set(own) if user == "u2" else may
        may -= set() if user == "u1" else set(never)
        may -= set() if kept else set(recommender.histories_of([user])[0].tolist())
        rows = [model.catalog.rows[item] for item in found[user]]
        assert len(set(rows)) == len(rows) == min(k, len(may))
        assert set(rows) <= may


def test_limits_that_leave_all_change_nothing(recommender):
    ids = list(recommender.model.catalog.item_ids)
    plain = recommender.recommend(USERS, k=30)
    for limits in (Limits(), Limits(allow=ids), Limits(deny_each={"u1": []})):
        assert recommender.recommend(USERS, k=30, limits=limits).equals(plain)
    each = Limits(allow_each=dict.fromkeys(USERS, ids))
    found = recommender.recommend(USERS, k=30, limits=each)
    assert found["item_id"].equals(plain["item_id"])
    np.testing.assert_allclose(found["score"], plain["score"], atol=1e-3)


def test_what_is_denied_makes_room_among_the_candidates(recommender):
    """The next best is reranked in its place: nothing is only cut out of a finished list."""
    first = best(recommender, 7)["u1"]
    table = recommender.recommend(["u1"], k=7, limits=Limits(deny=first[:3]))
    assert not set(first[:3]) & set(table["item_id"].to_pylist())
    assert min(table["score"].to_pylist()) > -BEYOND / 2


def test_no_item_comes_twice_and_a_huge_k_costs_nothing(recommender):
    limits = Limits(allow_each={"u1": ["r0s1", "r2s2", "r0s1"]})
    found = best(recommender, 10**12, limits, filter_seen=False)
    assert sorted(found["u1"]) == ["r0s1", "r2s2"]
    assert len(found["u2"]) == 41


def test_a_list_for_a_stranger_and_unknown_items(recommender, caplog):
    limits = Limits(deny=["zzz"], deny_each={"nobody": ["r0s1"]})
    with pytest.raises(InputError, match="zzz"):
        recommender.recommend(USERS, limits=limits)
    assert best(recommender, 5, limits, strict=False) == best(recommender, 5)
    assert "not in the catalog, such as 'zzz'" in caplog.text
    with pytest.raises(InputError, match="nothing may be recommended"):
        recommender.recommend(USERS, limits=Limits(allow=[]))
    assert best(recommender, 5, Limits(allow_each={"u1": []}))["u1"] == []


def test_generated_candidates_keep_the_limits(toys, recommender):

    config = toys.toy_config(epochs=1, tasks={"sequential": 0.5})
    retrieval = replace(config.retrieval, generate=True, candidates=6, code_size=4)
    generating = Recommender(fit(toys.toy_dataset(), replace(config, retrieval=retrieval)))
    allow = list(generating.model.catalog.item_ids)[:20]
    limits = Limits(allow=allow, deny=allow[:2], deny_each={"u1": allow[2:4]})
    found = best(generating, 20, limits, filter_seen=False)
    assert set(found["u2"]) == set(allow[2:])
    assert set(found["u1"]) == set(allow[4:])


def test_a_condition_on_columns(recommender):
    """Exactly k come back, by faiss or beyond the candidates, with other limits beside it."""
    wanted = [item for item in recommender.model.catalog.item_ids if item.startswith("r2")]
    titled = {item for item, title in zip(
        recommender.model.catalog.item_ids,
        recommender.model.catalog.table["title"].to_pylist(), strict=True,
    ) if title and "ring2" in title}  # fmt: skip
    assert titled <= set(wanted)
    found = best(recommender, len(titled), Limits(where="'ring2' in title"), filter_seen=False)
    assert all(set(items) == titled for items in found.values())
    one = sorted(titled)[0]
    limits = Limits(deny=[one], where="'ring2' in title")
    found = best(recommender, 40, limits, filter_seen=False)
    assert all(set(items) == titled - {one} for items in found.values())
    with pytest.raises(InputError, match="allow, deny and where leave no item"):
        best(recommender, 3, Limits(where="title == 'nothing'"))
    with pytest.raises(InputError, match="unknown column in --where 'colour'"):
        best(recommender, 3, Limits(where="colour == 'red'"))


def test_who_asks_twice_has_two_lists_and_who_gets_nothing_is_told(recommender, caplog):
    """Rows of a table, whatever holds them; a list of the row and one of the name both count."""
    columns = {
        "user_id": ["u1", "u1", "u1", "u2", "nobody"],
        "allow": [["r0s1"], None, ["r0s2"], ["r0s3", "r0s4"], ["r0s1"]],
        "deny": [None, None, ["r0s2"], ["r0s4"], None],
    }
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    for make in (pa.table, polars.DataFrame, pandas.DataFrame, dict):
        caplog.clear()
        limits = Limits(allow_each={"u2": ["r0s4", "r0s3"]}, deny_each={"u1": ["r0s1"]})
        asked = {"k": 2, "filter_seen": False, "strict": False}
        plain = recommender.recommend(make(columns), **asked)
        found = list(zip(plain["user_id"].to_pylist(), plain["item_id"].to_pylist(), strict=True))
        assert found[0] == ("u1", "r0s1")
        assert found[3:] == [("u2", "r0s3")]
        assert len(found) == 4  # the second of u1 gets whatever is best
        assert "1 user gets no item, such as 'u1'" in caplog.text
        limited = recommender.recommend(make(columns), limits=limits, **asked)
        assert limited["user_id"].to_pylist() == ["u1", "u1", "u2"]
    with pytest.raises(InputError, match="give these as its column 'history'"):
        recommender.recommend(pa.table(columns), histories=[[]])
    with pytest.raises(InputError, match="users has no column 'user_id'"):
        recommender.recommend(pa.table({"who": ["u1"]}))
