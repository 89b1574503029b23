import pytest
import torch

from p5mm.fusion.base import fusions
from p5mm.fusion.item import ItemTokens

CONTENT = {"text": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
PRESENT = {"text": torch.tensor([True, True, False, True, False])}
TRAINED = torch.tensor([True, True, True, False, False])  # 3: content alone; 4: nothing


def make(id_dropout=0.0, content=True, k=2):
    torch.manual_seed(0)
    fusion = fusions.get("gate")({"text": 3}, 8, k) if content else None
    vectors, present = (CONTENT, PRESENT) if content else ({}, {})
    return ItemTokens(fusion, vectors, present, TRAINED, 8, k, id_dropout)


def test_content_plus_residual():
    items = make().eval()
    content = items.fusion(CONTENT, PRESENT["text"][:, None])
    residual = items.residual.weight.view(5, 2, 8)
    expected = content + residual * TRAINED[:, None, None]
    torch.testing.assert_close(items(), expected)


def test_rows_are_the_same_tokens():
    items, rows = make().eval(), torch.tensor([3, 0, 0])
    torch.testing.assert_close(items(rows), items()[rows])


def test_an_item_never_trained_on_has_no_id():
    items = make().eval()
    before = items()
    items.residual.weight.data[3:] += 1.0
    torch.testing.assert_close(items(), before)
    assert before[3].any()
    assert not before[4].any()
    assert items.known.tolist() == [True, True, True, True, False]
    assert items.trained_rows.tolist() == [0, 1, 2]


def test_id_dropout_hides_ids_only_where_there_is_content():
    items = make(id_dropout=0.5)
    content = items.fusion(CONTENT, PRESENT["text"][:, None])
    hidden = torch.stack([(items() == content).all(-1).all(-1) for _ in range(200)]).float()
    assert hidden[:, :2].mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.12)
    assert not hidden[:, 2].any()
    items.eval()
    torch.testing.assert_close(items(), items())
    assert not (items()[:3] == content[:3]).all(-1).any()


def test_without_content_the_id_is_all_and_never_hidden():
    items = make(id_dropout=0.9, content=False)
    assert items().shape == (5, 2, 8)
    assert items()[:3].any(-1).all()
    assert items.known.tolist() == TRAINED.tolist()


def test_content_is_not_among_the_weights_but_what_was_trained_is():
    names = set(make().state_dict())
    assert not {n for n in names if "content" in n}
    assert "trained" in names


def test_other_content_takes_the_place_of_the_first():
    items, other = make().eval(), {"text": CONTENT["text"] + 1.0}
    there = {"text": ~PRESENT["text"]}
    items.hold(other, there)
    expected = make().eval()
    expected.register_buffer("content_text", other["text"])
    expected.present = there["text"][:, None]
    torch.testing.assert_close(items(), expected())
    assert items.known.tolist() == [True, True, True, False, True]
    assert not {n for n in items.state_dict() if "content" in n or "present" in n}
