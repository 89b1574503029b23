"""What stands in for new items, against the same written out densely."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn import functional as F

from p5mm.config import ColdConfig
from p5mm.evidence import cold_items
from p5mm.evidence.cold_items import ColdItems
from p5mm.fusion.item import ItemTokens

SETTINGS = ColdConfig(neighbours=4)

N, D, K, TAKEN = 30, 8, 2, 20


def items_of(text, style, there):
    content = {"text": text, "style": style}
    present = {"text": there, "style": torch.ones(len(text), dtype=torch.bool)}
    trained = torch.arange(len(text)) < TAKEN
    return ItemTokens(None, content, present, trained, D, K, 0.0)


@pytest.fixture
def items():
    random = torch.Generator().manual_seed(0)
    there = torch.arange(N) % 3 > 0
    text, style = torch.randn(N, 5, generator=random), torch.randn(N, 3, generator=random)
    return items_of(text * there[:, None], style, there)


@pytest.fixture
def tokens():
    return torch.randn(N, K, D, generator=torch.Generator().manual_seed(1))


def cosines(items):
    """Averaged over the modalities that both have; all items have a style."""
    text, style = (F.normalize(items.vectors_of(n), dim=1) for n in ("text", "style"))
    both = items.present[:, [0]] & items.present[:, 0]
    return (text @ text.T + style @ style.T) / (1 + both.float())


def test_kin_are_the_taken_items_most_alike(items):
    cold = ColdItems.of(items, SETTINGS)
    assert cold.rows.tolist() == list(range(TAKEN, N))
    alike = cosines(items)[TAKEN:, :TAKEN]
    expected = alike.argsort(dim=1, descending=True)[:, :4]
    assert cold.nearest.equal(expected)
    shares = (SETTINGS.sharpness * alike.gather(1, expected)).softmax(1)
    torch.testing.assert_close(cold.shares, shares)


def test_new_items_get_the_mean_of_two_regressions(items, tokens):
    cold = ColdItems.of(items, SETTINGS)
    found = cold.adopt(tokens)
    assert found[:TAKEN].equal(tokens[:TAKEN])
    unit = F.normalize(tokens, dim=-1)
    x = torch.cat([F.normalize(items.vectors_of(n), dim=1) for n in ("text", "style")], 1)
    taken, new = x[:TAKEN] - x[:TAKEN].mean(0), x[TAKEN:] - x[:TAKEN].mean(0)
    y = unit[:TAKEN].flatten(1)
    # The dual form of the ridge regression: the same predictions by other sums.
    dual = torch.linalg.solve(
        taken @ taken.T + 2 * SETTINGS.ridge * torch.eye(TAKEN), y - y.mean(0)
    )
    mapped = (new @ taken.T @ dual + y.mean(0)).unflatten(1, (K, D))
    for row in range(TAKEN, N):
        shares, nearest = cold.shares[row - TAKEN], cold.nearest[row - TAKEN]
        mean = sum(share * unit[one] for share, one in zip(shares, nearest, strict=True))
        mixed = F.normalize(mean, dim=-1) + F.normalize(mapped[row - TAKEN], dim=-1)
        expected = F.normalize(mixed, dim=-1) * tokens[:TAKEN].norm(dim=-1).mean()
        torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=1e-4)


def test_pieces_do_not_matter(items, tokens, monkeypatch):
    whole = ColdItems.of(items, ColdConfig())
    monkeypatch.setattr(cold_items, "CHUNK", 3)
    pieces = ColdItems.of(items, ColdConfig())
    assert pieces.nearest.equal(whole.nearest)
    torch.testing.assert_close(pieces.adopt(tokens), whole.adopt(tokens))


def test_neighbours_of_new_items_are_those_that_stand_in(items):
    dense = np.random.default_rng(0).random((N, N)).astype(np.float32)
    dense[TAKEN:] = dense[:, TAKEN:] = 0
    cold = ColdItems.of(items, SETTINGS)
    found = cold.introduce(sp.csr_matrix(dense), 300).toarray()
    np.testing.assert_allclose(found[:, :TAKEN], dense[:, :TAKEN])
    for row in range(TAKEN, N):
        shares, nearest = cold.shares[row - TAKEN].numpy(), cold.nearest[row - TAKEN].numpy()
        np.testing.assert_allclose(found[:, row], dense[:, nearest] @ shares, atol=1e-6)


def test_items_that_share_no_modality_stand_in_for_none(tokens):
    """Only items 3 and 5 were taken and have a text; items 25 to 29 have nothing but a text."""
    text, style = torch.ones(N, 5), torch.ones(N, 3)
    content = {"text": text, "style": style}
    has_text = torch.zeros(N, dtype=torch.bool)
    has_text[[3, 5, *range(25, 30)]] = True
    has_style = torch.arange(N) < 24  # item 24 has neither
    trained = torch.arange(N) < TAKEN
    present = {"text": has_text, "style": has_style}
    cold = ColdItems.of(ItemTokens(None, content, present, trained, D, K, 0.0), SETTINGS)
    assert cold.rows.tolist() == [20, 21, 22, 23, 25, 26, 27, 28, 29]
    for nearest, shares in zip(cold.nearest[4:], cold.shares[4:], strict=True):
        assert set(nearest[shares > 0].tolist()) == {3, 5}
        torch.testing.assert_close(shares[shares > 0], torch.tensor([0.5, 0.5]))
    found = cold.adopt(tokens)
    assert found[24].equal(tokens[24])
    assert not found[25].equal(tokens[25])


def test_without_new_items_nothing_changes(items, tokens):
    items.trained.fill_(True)
    cold = ColdItems.of(items, ColdConfig())
    similar = sp.csr_matrix((N, N), dtype=np.float32)
    assert cold.adopt(tokens) is tokens
    assert cold.introduce(similar, 300) is similar


def test_without_taken_items_or_content_nothing_stands_in(items, tokens):
    items.trained.fill_(False)
    assert not len(ColdItems.of(items, ColdConfig()).rows)
    blank = ItemTokens(None, {}, {}, torch.arange(N) < TAKEN, D, K, 0.0)
    assert ColdItems.of(blank, SETTINGS).adopt(tokens) is tokens
