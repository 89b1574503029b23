"""The number format is chosen once a training."""

import pytest
import torch

from p5mm.training import loop, precision
from p5mm.training.precision import autocast, chosen


def test_what_is_named_is_taken():
    assert chosen("bf16") == "bf16"
    assert chosen("fp32") == "fp32"


@pytest.mark.parametrize(("seconds", "expected"), [([1.0, 0.1], "bf16"), ([1.0, 0.9], "fp32")])
def test_auto_is_what_is_faster_by_far(monkeypatch, seconds, expected):
    left = list(seconds)
    monkeypatch.setattr(precision, "_seconds", lambda work: left.pop(0))
    precision.bf16_is_faster.cache_clear()
    assert chosen("auto") == expected
    precision.bf16_is_faster.cache_clear()


def test_the_context_computes_in_the_format():
    a = torch.ones(4, 4)
    with autocast("bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast("fp32"):
        assert (a @ a).dtype == torch.float32


def test_a_training_that_goes_on_keeps_its_format(toys, tmp_path, monkeypatch):
    """The machine of the second run would choose otherwise."""
    import importlib

    fit_module = importlib.import_module("p5mm.training.fit")
    steps = importlib.import_module("p5mm.training.fitting")
    used = []
    monkeypatch.setattr(loop, "autocast", lambda name: (used.append(name), autocast("fp32"))[1])
    config = toys.toy_config(epochs=2, tasks={}, precision="auto")
    measured, stopped = steps.validation_metrics, []

    def killed(*given):
        if stopped:
            raise KeyboardInterrupt
        stopped.append(True)
        return measured(*given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "chosen", lambda asked: "bf16")
        patch.setattr(steps, "validation_metrics", killed)
        with pytest.raises(KeyboardInterrupt):
            fit_module.fit(toys.toy_dataset(), config, checkpoint=tmp_path)
    used.clear()
    monkeypatch.setattr(loop, "chosen", lambda asked: "fp32")
    fit_module.fit(toys.toy_dataset(), config, checkpoint=tmp_path)
    assert set(used) == {"bf16"}
