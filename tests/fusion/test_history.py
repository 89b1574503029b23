import torch

from p5mm.fusion.history import HistoryTokens

NONE = float("nan")


def test_start_token_then_each_item():
    history = HistoryTokens(d=4, k=3)
    tokens = torch.randn(6, 3, 4)
    rows = torch.tensor([[5, 2], [0, 0]])
    x = history(tokens, rows, torch.full((2, 2), NONE))
    assert x.shape == (2, 7, 4)
    torch.testing.assert_close(x[:, 0], history.start[0].expand(2, -1))
    expected = torch.cat([tokens[5], tokens[2]])
    assert torch.cosine_similarity(x[0, 1:], expected, dim=-1).min() > 0.999


def test_ratings_colour_the_items_and_unknown_ones_do_not():
    history = HistoryTokens(d=4, k=2)
    history.rating.data = torch.arange(4.0)
    tokens, rows = torch.randn(2, 2, 4), torch.tensor([[0, 1, 1]])
    plain = history(tokens, rows, torch.full((1, 3), NONE))
    rated = history(tokens, rows, torch.tensor([[2.0, NONE, -1.0]]))
    moved = (rated - plain)[0, 1:].view(3, 2, 4)
    expected = torch.tensor([2.0, 0.0, -1.0])[:, None, None] * history.rating
    torch.testing.assert_close(moved, expected.expand(3, 2, 4))


def test_ends_are_the_last_tokens():
    assert HistoryTokens(4, 3).ends(2).tolist() == [0, 3, 6]
