"""The T5 writes codes: beams that are always items, and the likelihood of items given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from p5mm.data.histories import Histories
from p5mm.model.item_codes import ItemCodes, shares
from p5mm.model.network import Encoded, Network
from p5mm.ranking.decoding import Paths
from p5mm.retrieval.trie import Trie

HEAVIEST = 600.0  # handicap of which exp(-handicap) is still a number
TOGETHER = 64  # histories whose beams are in memory at once


@dataclass(frozen=True)
class Generator:
    """Generates candidates from codes alone; no item vector and no index is looked at.

    Attributes:
        network: In evaluation mode, trained with codes.
        trie: Of the items that can be generated.
        prior: ``[nodes]`` log of what the items below each node count.
        weights: ``[items]`` float64, above 0: what each item of the catalog counts.
    """

    network: Network
    trie: Trie
    prior: Tensor
    weights: Tensor

    @classmethod
    def of(cls, network: Network) -> "Generator":
        """A generator of all items that have a code.

        Raises:
            InputError: The network was trained without codes.
        """
        trie = network.known_codes.trie(torch.nonzero(network.items.known).flatten())
        weights = torch.ones(len(network.items), dtype=torch.float64)
        return cls(network, trie, shares(trie), weights)

    def handicapped(self, handicap: float) -> "Generator":
        """The same generator when an item that nobody took counts exp(-handicap)."""
        lowered = torch.full((len(self.weights),), -min(handicap, HEAVIEST), dtype=torch.float64)
        weights = lowered.masked_fill(self.network.items.trained, 0.0).exp()
        return replace(self, prior=shares(self.trie, weights), weights=weights)

    def among(self, rows: NDArray[np.int64]) -> "Generator":
        """The same generator when only some catalog rows may be generated."""
        trie = self.codes.trie(torch.from_numpy(np.unique(rows)))
        return replace(self, trie=trie, prior=shares(trie, self.weights))

    @property
    def codes(self) -> ItemCodes:
        """How codes are read and predicted."""
        return self.network.known_codes

    def find(
        self,
        encoded: Encoded,
        prompt: Sequence[int],
        never: Histories | None,
        count: int,
        width: int,
    ) -> NDArray[np.int64]:
        """Catalog rows ``[b, count]`` (fewer columns in a small catalog), likeliest first.

        Beyond the first ``width`` another beam finds as many of what is left, and so on: a list
        of few items begins one of many.

        Args:
            encoded: The histories, read once.
            prompt: Token ids that the decoder reads.
            never: Catalog rows that each may not get; None for none.
            count: How many items each gets.
            width: Of a beam.

        Returns:
            int64; -1 where there are no more items.
        """
        users = len(encoded.lengths)
        seen = torch.full((users, 1), -1) if never is None else _padded(never)
        count = min(count, len(self.trie))
        found = [torch.empty(0, count, dtype=torch.int64)]
        for part in torch.split(torch.arange(users), TOGETHER):
            read, denied = _part(encoded, part), seen[part]
            for _ in range(0, count, width):
                rows = self.beam(read, prompt, width, denied=denied)[0]
                denied = torch.cat([denied, rows], dim=1)
            found.append(denied[:, seen.shape[1] :][:, :count])
        return torch.cat(found).numpy()

    @torch.inference_mode()
    def beam(
        self,
        encoded: Encoded,
        prompt: Sequence[int],
        width: int,
        allowed: Tensor | None = None,
        denied: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The likeliest items that a beam finds, and their scores, as ``likelihood`` gives them.

        A beam only goes on where an item is left, so that ``width`` different ones come back
        wherever there are as many. Of what is left it keeps what is worth most: the score so far,
        as often as there are items below. With a width of all items the order is exact.

        Args:
            encoded: The histories, read once.
            prompt: Token ids that the decoder reads.
            width: Beams that are kept, and items that come back.
            allowed: ``[b, m]`` the only rows that may come back, -1 for padding; None for all.
            denied: ``[b, m]`` rows that may not, -1 for padding; None for none.

        Returns:
            Rows ``[b, w]`` int64, -1 beyond the last item, and scores ``[b, w]``, minus infinity
            there; ``w`` is ``width``, or all items if fewer.
        """
        width, codes, trie = min(width, len(self.trie)), self.codes, self.trie
        left = Left.of(trie, allowed, denied)
        queries = encoded.last[:, None] / self.network.temperature
        paths = Paths.start(self.network.t5, encoded, prompt, codes.levels)
        nodes = torch.zeros_like(encoded.lengths)[:, None]
        scores, read = queries.new_zeros(nodes.shape), nodes[..., None][..., :0]
        for level in range(trie.depth):
            children = trie.children(nodes, level)
            said = scores[..., None]
            if level < codes.levels:
                said = said + codes.logits(level, paths.states, queries).gather(2, children.digits)
            there = children.real & left.any(children.nodes) & (scores > -torch.inf)[..., None]
            worth = (said + self.prior[children.nodes]).masked_fill(~there, -torch.inf).flatten(1)
            kept, best = worth.topk(min(width, worth.shape[1]))
            parents = best // children.nodes.shape[2]
            nodes = children.nodes.flatten(1).gather(1, best)
            scores = said.expand(children.nodes.shape).flatten(1).gather(1, best)
            scores = scores.masked_fill(kept == -torch.inf, -torch.inf)
            if level < codes.levels - 1:
                digits = children.digits.flatten(1).gather(1, best)
                read = torch.cat([_taken(read, parents), digits[..., None]], dim=-1)
                paths = paths.onward(parents, codes.read(read)[:, :, -1])
        return self._answers(nodes, kept, width)

    @torch.inference_mode()
    def likelihood(self, encoded: Encoded, prompt: Sequence[int], rows: Tensor) -> Tensor:
        """Log-likelihoods ``[b, n]`` of items, each shared beginning computed once.

        They are exact but for what all items of a request have in common: the logarithm of the
        sum over the catalog, which no ranking needs.

        Args:
            encoded: The histories, read once.
            prompt: Token ids that the decoder reads.
            rows: ``[b, n]`` int64 catalog rows; minus infinity for those without a code.
        """
        trie, codes = self.trie, self.codes
        coded = trie.places[rows] >= 0
        rows = torch.where(coded, rows, trie.rows[0])
        path, digits = trie.path(rows), codes.digits[rows]
        queries = encoded.last[:, None] / self.network.temperature
        paths = Paths.start(self.network.t5, encoded, prompt, codes.levels)
        place, total = torch.zeros_like(rows), self.prior[path[..., -1]]
        lines = torch.arange(len(rows), device=rows.device)[:, None]
        for level in range(codes.levels):
            said = codes.logits(level, paths.states, queries)
            total = total + said[lines, place, digits[..., level]]
            if level < codes.levels - 1:
                first, after = _distinct(path[..., level + 1])
                read = _taken(digits, first)[..., : level + 1]
                paths = paths.onward(place.gather(1, first), codes.read(read)[:, :, -1])
                place = after
        return total.masked_fill(~coded, -torch.inf)

    def _answers(self, leaves: Tensor, scores: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Items ``[b, width]`` and scores of leaves, -1 and minus infinity beyond the last."""
        rows = torch.where(scores > -torch.inf, self.trie.items(leaves), -1)
        missing = (0, width - rows.shape[1])
        return F.pad(rows, missing, value=-1), F.pad(scores, missing, value=-torch.inf)


@dataclass(frozen=True)
class Left:
    """Which nodes have an item left below them that a request may have.

    Attributes:
        trie: Of all items.
        ranks: ``[b, m]`` sorted ranks of a list a request; None leaves everything.
        only: The list is all that is left, rather than what is not.
    """

    trie: Trie
    ranks: Tensor | None
    only: bool

    @classmethod
    def of(cls, trie: Trie, allowed: Tensor | None, denied: Tensor | None) -> "Left":
        """What lists of rows leave."""
        if allowed is None:
            return cls(trie, None if denied is None else trie.ranks(denied), only=False)
        if denied is not None:
            lines = torch.arange(len(allowed), device=allowed.device)[:, None] * len(trie.places)
            both = torch.isin(allowed + lines, (denied + lines)[denied >= 0])
            allowed = allowed.masked_fill(both, -1)
        return cls(trie, trie.ranks(allowed), only=True)

    def any(self, nodes: Tensor) -> Tensor:
        """``[b, ...]`` bool of nodes, True where something is left."""
        if self.ranks is None:
            return torch.ones_like(nodes, dtype=torch.bool)
        listed = self.trie.below(nodes, self.ranks)
        return listed > 0 if self.only else listed < self.trie.sizes(nodes)


def _taken(values: Tensor, places: Tensor) -> Tensor:
    """``[b, w, ...]`` of values ``[b, n, ...]`` at places ``[b, w]``."""
    return values[torch.arange(len(values), device=values.device)[:, None], places]


def _distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """Where each different value of a line stands, and which of them each place holds.

    Args:
        values: ``[b, n]``.

    Returns:
        ``[b, u]`` places of the different values, repeated where a line has fewer, and ``[b, n]``
        numbers below u.
    """
    ordered, order = values.sort(dim=1, stable=True)
    begins = torch.ones_like(values)
    begins[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
    number = begins.cumsum(1) - 1
    which = torch.empty_like(number).scatter_(1, order, number)
    first = order[:, :1].repeat(1, int(number.max()) + 1)
    return first.scatter_(1, number, order), which


def _padded(never: Histories) -> Tensor:
    """Rows ``[b, longest]``, at least one a line, -1 for padding."""
    return F.pad(torch.from_numpy(never.padded()), (0, 1), value=-1)


def _part(encoded: Encoded, lines: Tensor) -> Encoded:
    """Some of the histories ``[m]``."""
    return replace(
        encoded,
        memory=encoded.memory[lines],
        queries=encoded.queries[lines],
        lengths=encoded.lengths[lines],
    )
