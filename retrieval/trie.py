"""A trie of item codes in flat arrays: children, ranges of items and what is left of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.errors import InputError

Level = tuple[NDArray[np.int64], NDArray[np.int64]]  # first ranks and digits of its nodes
DENSE = 1 << 22  # entries of the table that gives the children of the first levels at once


@dataclass(frozen=True)
class Children:
    """The children of some nodes, side by side.

    Attributes:
        nodes: ``[..., c]`` int64, ascending digits; padding repeats the last child.
        digits: ``[..., c]`` int64 likewise, so that scattering by them blocks nothing.
        real: ``[..., c]`` bool, False for padding.
    """

    nodes: Tensor
    digits: Tensor
    real: Tensor


@dataclass(frozen=True)
class Trie:
    """Codes of items, sorted: every node is a range of items, its children lie side by side.

    Nodes are numbered level by level, in the order of their codes; node 0 is the root. The arrays
    are those of a CSR matrix; the same torch code reads them on any device. For the first levels a
    dense table holds the padded children, so that a step there copies lines.

    Attributes:
        first: ``[nodes + 1]`` int64: the children of node i are ``first[i]`` to ``first[i + 1]``.
        digits: ``[nodes]`` int64 last digit of each node.
        low: ``[nodes]`` int64 rank of a node's first item.
        high: ``[nodes]`` int64 rank after its last one.
        levels: ``[depth + 2]`` number of the first node of each level, and of all nodes.
        widths: ``[depth]`` most children of a node of each level.
        rows: ``[n]`` int64 item row of each rank.
        places: Item row to rank ``[items]`` int64; -1 for items that are not in it.
        table: ``[dense nodes, width]`` int64 children of the first nodes.
        table_digits: ``[dense nodes, width]`` int64 their digits.
        table_real: ``[dense nodes, width]`` bool, False for padding.
    """

    first: Tensor
    digits: Tensor
    low: Tensor
    high: Tensor
    levels: tuple[int, ...]
    widths: tuple[int, ...]
    rows: Tensor
    places: Tensor
    table: Tensor
    table_digits: Tensor
    table_real: Tensor

    @classmethod
    def of(cls, codes: NDArray[np.int64], rows: NDArray[np.int64], items: int) -> "Trie":
        """The trie of some items' codes.

        Args:
            codes: ``[n, depth]``, all different, digits from 0.
            rows: ``[n]`` their item rows, all different.
            items: Size of the catalog that ``rows`` count in.

        Raises:
            InputError: There is no item, or two have one code.
        """
        if codes.ndim != 2 or not len(codes) or codes.shape[1] < 1:
            raise InputError(f"a trie needs codes [n, depth], at least one; given {codes.shape}")
        order = np.lexsort(codes.T[::-1])
        ordered = codes[order]
        # The level, from 1, at which an item's code leaves that of the item before it.
        differs = np.vstack([np.ones(codes.shape[1], dtype=bool), np.diff(ordered, axis=0) != 0])
        if not differs.any(axis=1).all():
            raise InputError("two items have the same code; Codes.unique gives each its own")
        parts = _levels(ordered, np.logical_or.accumulate(differs, axis=1))
        return cls._laid_out(parts, np.asarray(rows)[order], items)

    @classmethod
    def _laid_out(cls, parts: Sequence[Level], rows: NDArray[np.int64], items: int) -> "Trie":
        """Arrays of all levels, from the starts and digits of each."""
        levels = np.cumsum([0, *(len(starts) for starts, _ in parts)])
        begins = [
            levels[depth + 1] + np.searchsorted(parts[depth + 1][0], starts)
            for depth, (starts, _) in enumerate(parts[:-1])
        ]
        leaves = np.full(len(parts[-1][0]) + 1, levels[-1])
        first = _tensor(np.concatenate([*begins, leaves]))
        digits = _tensor(np.concatenate([digits for _, digits in parts]))
        low = np.concatenate([starts for starts, _ in parts])
        high = np.concatenate([np.append(starts[1:], len(rows)) for starts, _ in parts])
        places = np.full(items, -1)
        places[rows] = np.arange(len(rows))
        known = tuple(int(level) for level in levels)
        counts = torch.split(torch.diff(first), np.diff(levels).tolist())
        widths = tuple(int(count.max()) for count in counts[:-1])
        dense = _dense(first, digits, known, widths)
        return cls(
            first, digits, _tensor(low), _tensor(high), known, widths, _tensor(rows),
            _tensor(places), dense.nodes, dense.digits, dense.real,
        )  # fmt: skip

    @property
    def depth(self) -> int:
        """Digits of a code."""
        return len(self.widths)

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device | str) -> "Trie":
        """The same trie on another device."""
        moved = {
            name: value.to(device) for name, value in vars(self).items() if torch.is_tensor(value)
        }
        return Trie(**{**vars(self), **moved})

    def children(self, nodes: Tensor, level: int) -> Children:
        """The children of nodes ``[...]`` of one level, the root being level 0."""
        width = self.widths[level]
        if self.levels[level + 1] > len(self.table):
            return _children(self.first, self.digits, nodes, width)
        parts = (
            table[:, :width].index_select(0, nodes.flatten()).view(*nodes.shape, width)
            for table in (self.table, self.table_digits, self.table_real)
        )
        return Children(*parts)

    def sizes(self, nodes: Tensor) -> Tensor:
        """How many items are below nodes ``[...]``."""
        return self.high[nodes] - self.low[nodes]

    def path(self, rows: Tensor) -> Tensor:
        """``[..., depth + 1]`` nodes from the root to items ``[...]`` that are in the trie."""
        ranks = self.places[rows]
        nodes = []
        for level in range(self.depth + 1):
            begin, end = self.levels[level], self.levels[level + 1]
            found = torch.searchsorted(self.low[begin:end], ranks, right=True) - 1
            nodes.append(begin + found)
        return torch.stack(nodes, dim=-1)

    def items(self, leaves: Tensor) -> Tensor:
        """The item rows ``[...]`` of leaves ``[...]``."""
        return self.rows[self.low[leaves]]

    def ranks(self, rows: Tensor) -> Tensor:
        """Sorted ranks ``[b, m]`` of lists of item rows ``[b, m]``, each item counted once.

        Args:
            rows: -1 for padding; items that are not in the trie are left out.

        Returns:
            int64; the number of items stands for what is left out.
        """
        known = rows >= 0
        ranks = torch.where(known, self.places[rows.clamp(min=0)], -1)
        ranks = torch.where(ranks < 0, len(self), ranks).sort(dim=-1).values
        again = torch.zeros_like(known)
        again[:, 1:] = ranks[:, 1:] == ranks[:, :-1]
        return ranks.masked_fill(again, len(self)).sort(dim=-1).values

    def below(self, nodes: Tensor, ranks: Tensor) -> Tensor:
        """How many items of each request's list are below its nodes.

        Args:
            nodes: ``[b, ...]``.
            ranks: ``[b, m]`` from ``ranks``.
        """
        flat = nodes.flatten(1)
        until = torch.searchsorted(ranks, self.high[flat])
        count = until - torch.searchsorted(ranks, self.low[flat])
        return count.view(nodes.shape)


def _tensor(values: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


def _levels(codes: NDArray[np.int64], opens: NDArray[np.bool_]) -> list[Level]:
    """First ranks and digits of the nodes of each level, the root's first."""
    root = (np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    starts = [np.flatnonzero(level) for level in opens.T]
    return [root, *((start, codes[start, at]) for at, start in enumerate(starts))]


def _children(first: Tensor, digits: Tensor, nodes: Tensor, width: int) -> Children:
    """At most ``width`` children of nodes ``[...]`` by the arrays of the trie."""
    begin, end = first[nodes][..., None], first[nodes + 1][..., None]
    found = begin + torch.arange(width, device=nodes.device)
    real = found < end
    found = torch.minimum(found, end - 1)
    taken = digits.index_select(0, found.flatten())  # several times faster than digits[found]
    return Children(found, taken.view(found.shape), real)


def _dense(
    first: Tensor, digits: Tensor, levels: tuple[int, ...], widths: tuple[int, ...]
) -> Children:
    """Children of all nodes of the first levels, as many levels as the table may hold."""
    kept, width = 0, 0
    for level, most in enumerate(widths):
        if levels[level + 1] * max(width, most) > DENSE:
            break
        kept, width = levels[level + 1], max(width, most)
    return _children(first, digits, torch.arange(kept), width)
