"""One masking step of a constrained beam: the trie in flat arrays against a Python dictionary.

    python benchmarks/trie.py [--items 1000000] [--beams 20] [--histories 16] [--seed 0]

Each level of a code is one step. The dictionary answers transformers' prefix_allowed_tokens_fn,
which is called for every beam; its logits processor writes the mask, as ours does. Times are the
median of several steps; both masks are checked to be equal.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from setting import commit, machine
from torch import Tensor

from p5mm.retrieval.trie import Trie

SIZE, LEVELS = 256, 3  # digits of a code, and one more that tells items of one code apart


def drawn_codes(items: int, seed: int) -> np.ndarray:
    """Different codes ``[items, LEVELS + 1]``: digits fall off as those of real items do."""
    rng = np.random.default_rng(seed)
    digits = (rng.beta(0.7, 2.0, size=(items, LEVELS)) * SIZE).astype(np.int64)
    order = np.lexsort(digits.T)
    same = np.append(False, (np.diff(digits[order], axis=0) == 0).all(axis=1))
    places = np.arange(items) - np.maximum.accumulate(np.where(same, 0, np.arange(items)))
    last = np.empty(items, dtype=np.int64)
    last[order] = places
    return np.column_stack([digits, last])


def dictionary(codes: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    """Prefix to the digits that go on."""
    onward: dict[tuple[int, ...], set[int]] = {}
    for code in codes.tolist():
        for at in range(len(code)):
            onward.setdefault(tuple(code[:at]), set()).add(code[at])
    return {prefix: sorted(digits) for prefix, digits in onward.items()}


def timed(step: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """Median seconds of a step, and its mask."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        mask = step()
        seconds.append(time.perf_counter() - start)
    return median(seconds), mask


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--histories", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from transformers import PrefixConstrainedLogitsProcessor

    codes = drawn_codes(given.items, given.seed)
    start = time.perf_counter()
    trie = Trie.of(codes, np.arange(given.items), given.items)
    built = time.perf_counter() - start
    start = time.perf_counter()
    onward = dictionary(codes)
    print(
        f"{given.items} items, {given.histories} histories x {given.beams} beams, seed "
        f"{given.seed}; {commit()}, {machine()}\nbuilt in {built:.1f} s, the dictionary in "
        f"{time.perf_counter() - start:.1f} s; {trie.levels[-1]} nodes"
    )
    processor = PrefixConstrainedLogitsProcessor(
        lambda _, prefix: onward[tuple(prefix.tolist())], given.beams
    )
    rng = np.random.default_rng(given.seed)
    wanted = torch.from_numpy(rng.integers(given.items, size=given.histories * given.beams))
    path = trie.path(wanted)
    vocabulary = max(SIZE, int(codes.max()) + 1)
    totals = np.zeros(3)
    for level in range(trie.depth):
        logits = torch.zeros(len(wanted), vocabulary)
        prefix, nodes = torch.from_numpy(codes[wanted.numpy(), :level]), path[:, level]
        flat, mask = timed(lambda x=logits, n=nodes, at=level: masked(trie, x, n, at), 200)
        slow, checked = timed(lambda p=prefix, x=logits: processor(p, x), 20)
        if not torch.equal(mask, checked):
            raise ValueError(f"the masks of level {level + 1} differ")
        # The beams of a history begin as one: only the processor computes the first step for all.
        begun = slice(None, None, given.beams if level == 0 else 1)
        ours, _ = timed(
            lambda x=logits[begun], n=nodes[begun], at=level: allowed(trie, x, n, at), 200
        )
        totals += [slow, flat, ours]
        print(
            f"level {level + 1}: dictionary {1e3 * slow:.3f} ms, whole mask {1e3 * flat:.3f} ms "
            f"({slow / flat:.0f} x), what the beam does {1e3 * ours:.3f} ms ({slow / ours:.0f} x)"
        )
    print(f"all: {totals[0] / totals[1]:.0f} x, what the beam does {totals[0] / totals[2]:.0f} x")


def masked(trie: Trie, logits: Tensor, nodes: Tensor, level: int) -> Tensor:
    """The logits ``[n, vocabulary]`` with minus infinity where no child of the node goes on."""
    blocked = torch.full_like(logits, -torch.inf)
    return logits + blocked.scatter_(1, trie.children(nodes, level).digits, 0.0)


def allowed(trie: Trie, logits: Tensor, nodes: Tensor, level: int) -> Tensor:
    """Only the logits ``[n, width]`` of children, as the beam takes them."""
    children = trie.children(nodes, level)
    return logits.gather(1, children.digits).masked_fill(~children.real, -torch.inf)


if __name__ == "__main__":
    main()
