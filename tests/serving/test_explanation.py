"""Explanations: every number is a difference of two real scores."""

import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.model.relation_reader import relation_names
from p5mm.ranking.scorer import DECODER
from p5mm.serving.explanation import SPOKEN, Explanation, Reason, explain, without_each
from p5mm.serving.explanation_page import ARROWS, drawn, explanation_page
from p5mm.serving.recommender import Recommender

HISTORY, ITEM = ["r0s1", "r0s2", "r3s1", "r0s3"], "r0s4"


@pytest.fixture(scope="module")
def recommender(toy):
    return Recommender(toy)


def score_of(recommender, history, item=ITEM):
    table = {"history": [history], "item_id": [item]}
    return recommender.score(table)["score"][0].as_py()


def test_what_an_item_carries_is_lost_without_it(recommender):
    told = recommender.explain(ITEM, history=HISTORY)
    whole = score_of(recommender, HISTORY)
    assert told.score == pytest.approx(whole, abs=1e-4)
    assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-4)
    assert set(told.parts) == {"retriever", *recommender.model.scorer.weights}
    assert sorted(reason.item_id for reason in told.reasons) == sorted(HISTORY)
    carried = [reason.carries for reason in told.reasons]
    assert carried == sorted(carried, reverse=True)
    for reason in told.reasons:
        left = [item for item in HISTORY if item != reason.item_id]
        lost = whole - score_of(recommender, left)
        assert reason.carries == pytest.approx(lost, abs=1e-4)
        assert sum(reason.parts.values()) == pytest.approx(reason.carries, abs=1e-4)


def test_every_relation_that_is_no_content_has_words():
    assert set(SPOKEN) == set(relation_names(()))


def test_what_a_relation_carries_is_lost_without_it(toy):
    scorer = toy.scorer
    rows = [toy.catalog.rows[item] for item in HISTORY]
    history, item = Histories.from_lists([rows]), toy.catalog.rows[ITEM]
    told = explain(toy, "me", history, item)
    encoded = scorer.encode(history)
    facts, relations, lengths = scorer.read(encoded, history, torch.tensor([[item]]))
    for reason in told.reasons:
        back = len(HISTORY) - 1 - HISTORY.index(reason.item_id)
        for column, name in enumerate(scorer.relations.names):
            without = relations.clone()
            without[0, 0, back, column] = 0
            with torch.inference_mode():
                kept, left = (
                    scorer.network.rerank(scorer.asking.prompt, facts, r, lengths).item()
                    for r in (relations, without)
                )
            lost = scorer.weights[DECODER] * (kept - left)
            assert reason.relations[name] == pytest.approx(lost, abs=1e-4)


def test_attention_is_that_of_the_decoder(toy):
    """Without keys and with a bias of one relation alone it is their softmax."""
    network, scorer = toy.network, toy.scorer
    history = Histories.from_lists([[3, 4, 5], [6]])
    encoded = scorer.encode(history)
    asked = scorer.read(encoded, history, torch.tensor([[8, 9], [8, 9]]))
    with torch.inference_mode():
        shares = network.attention(scorer.asking.prompt, *asked)
        pairs, mask = network.reader.pairs(*asked[1:])
    assert shares.shape == (2, 2, 3)
    assert (shares >= 0).all()
    assert (shares.sum(dim=-1) < 1).all()  # the rest goes to no item
    assert (shares[1, :, 1:] == 0).all()  # there is no second item
    [layer] = network.reader.layers
    keys = layer.keys.weight.clone()
    try:
        with torch.inference_mode():
            layer.keys.weight.zero_()
            plain = network.attention(scorer.asking.prompt, *asked)
            expected = (layer.bias(pairs).transpose(-1, -2) + mask).softmax(-1).mean(2)[..., 1:]
    finally:
        with torch.inference_mode():
            layer.keys.weight.copy_(keys)
    torch.testing.assert_close(plain, expected)


def test_without_a_decoder_nothing_is_said_of_relations(toy):
    bare = replace(toy)
    bare.__dict__["scorer"] = toy.scorer.weighing({"neighbours": 2.0})
    told = Recommender(bare).explain(ITEM, history=HISTORY)
    assert set(told.parts) == {"retriever", "neighbours"}
    assert all(not reason.relations and not reason.words for reason in told.reasons)
    assert all(reason.attention == 0 for reason in told.reasons)


def test_users_of_the_log_and_empty_histories(recommender):
    user = recommender.model.user_ids[0]
    told = recommender.explain(ITEM, user)
    assert told.user_id == user
    taken = recommender.histories_of([user])[0]
    assert len(told.reasons) == len(taken)
    pairs = {"user_id": [user], "item_id": [ITEM]}
    assert told.score == pytest.approx(recommender.score(pairs)["score"][0].as_py(), abs=1e-4)
    nobody = recommender.explain(ITEM, history=[])
    assert not nobody.reasons
    assert nobody.score == pytest.approx(score_of(recommender, []), abs=1e-4)


def test_only_what_is_read_is_asked(toy):
    longest = toy.scorer.asking.max_history
    history = Histories.from_lists([np.resize(np.arange(9), 3 * longest).tolist()])
    assert len(explain(toy, "me", history, 20).reasons) == longest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"item_id": "zzz", "history": HISTORY}, "zzz"),
        ({"item_id": ITEM, "history": ["zzz"]}, "zzz"),
        ({"item_id": ITEM, "user": "zzz"}, "zzz"),
        ({"item_id": ITEM}, "nobody asks"),
    ],
)
def test_unknown_names(recommender, arguments, message):
    with pytest.raises(InputError, match=message):
        recommender.explain(**arguments)


def test_ratings_go_with_their_items():
    history = Histories(np.array([4, 5, 6]), np.array([0, 3]), np.array([1, 2, 3], np.float32))
    found = without_each(history)
    assert [part[0].tolist() for part in found] == [[5, 6], [4, 6], [4, 5]]
    assert [part.ratings.tolist() for part in found] == [[2, 3], [1, 3], [1, 2]]


def test_words_name_what_carries_most():
    relations = {"together": 0.2, "image": 0.5, "after": -0.9, "rating": 0.01}
    assert Reason("a", 1.0, {}, relations, 0.0).words == "alike in image, often taken together"
    assert Reason("a", 1.0, {}, {"after": -0.9}, 0.0).words == ""


def test_arrows_show_what_is_largest_for_and_against():
    carried = [0.01 * n for n in range(20)] + [-3.0]
    reasons = [Reason(str(n), value, {}, {}, 0.0) for n, value in enumerate(carried)]
    arrows = drawn(Explanation("me", "x", 1.0, {}, reasons))
    assert len(arrows) == ARROWS
    assert arrows[-1].reason.item_id == "20"
    assert arrows[-1].width == max(arrow.width for arrow in arrows)
    assert [a.reason.carries for a in arrows] == sorted(a.reason.carries for a in arrows)[::-1]


def test_the_page_is_whole_and_escapes_titles(toy, page_of):
    table, odd = toy.catalog.table, pa.array(["<b>&</b>"] * len(toy.catalog))
    place = table.column_names.index("title")
    catalog = replace(toy.catalog, table=table.set_column(place, "title", odd))
    for history in (HISTORY, []):
        told = Recommender(toy).explain(ITEM, "u<1>", history=history)
        html = explanation_page(told, catalog)
        page_of(html)
        assert "<b>&</b>" not in html
        assert "&lt;b&gt;&amp;&lt;/b&gt;" in html
        assert len(re.findall("<path ", html)) == len(history)
        assert "http" not in html.replace("http-equiv", "")
