"""Dropout from bytes: the right share, the right scale, nothing outside of training."""

import pytest
import torch

from p5mm.model.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_share_and_scale(rate):
    torch.manual_seed(0)
    out = Dropout(rate)(torch.ones(400, 501))
    assert (out == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)


def test_neighbours_are_independent():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(1_000_000)) == 0).float() - 0.5
    for lag in (1, 7, 8):
        assert abs((dropped[:-lag] * dropped[lag:]).mean().item()) < 0.002


def test_nothing_happens_in_evaluation_or_at_rate_zero():
    x = torch.randn(5, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_the_gradient_is_masked_alike():
    x = torch.ones(1000, requires_grad=True)
    out = Dropout(0.5)(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
