import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.baselines.windows import Windows
from p5mm.histories import Histories


@given(
    lists=st.lists(st.lists(st.integers(0, 50), max_size=12), min_size=1, max_size=8),
    size=st.integers(1, 5),
    tokens=st.integers(1, 20),
)
@settings(max_examples=80, deadline=None)
def test_every_step_of_every_history_is_one_example(
    lists: list[list[int]], size: int, tokens: int
) -> None:
    windows = Windows.cut(Histories.from_lists(lists), size)
    found = []
    for batch in windows.batches(tokens, np.random.default_rng(0)):
        assert batch.inputs.shape[1] <= size
        # Padding is on the right: causal attention then never shows it to a real position.
        assert (batch.mask.int().diff(dim=1) <= 0).all()
        pairs = torch.stack([batch.inputs[batch.mask], batch.targets[batch.mask]], dim=1)
        found += [tuple(pair) for pair in pairs.tolist()]
    steps = [step for one in lists for step in itertools.pairwise(one)]
    assert sorted(found) == sorted(steps)


def test_a_long_history_has_a_whole_window_at_its_end() -> None:
    windows = Windows.cut(Histories.from_lists([[0, 1, 2, 3, 4, 5]]), size=3)
    assert list(zip(windows.starts, windows.lengths, strict=True)) == [(2, 3), (0, 2)]
