"""Item codes in the T5's decoder: how a digit is read, and what the next one is likely to be."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from p5mm.retrieval.trie import Trie

NEARER = 1e-3  # what a place in the last digit costs: items of one code come nearest first


class ItemCodes(nn.Module):
    """Reads and predicts the digits of item codes in the geometry of the retriever.

    The centroids are retrieval vectors, so a digit is worth the query's inner product with its
    centroid before anything is learned: the sum over a code is the retriever's logit of the code's
    point, and every level brings that nearer to the item. The decoder turns the query, at every
    digit anew. What it reads of a code is the point that the code has reached. Neither knows an
    item by name, so that a new item needs only a code.

    An item's likelihood is the softmax of its score, the sum of its digits' logits, over all items:
    normalised at each digit, the digits of only children would tell nothing.

    Args:
        books: ``[levels, size, d]`` codebooks of unit retrieval vectors.
        digits: ``[n, levels + 1]`` int64 code of each item of the catalog; -1 where it has none.
    """

    def __init__(self, books: Tensor, digits: Tensor) -> None:
        super().__init__()
        levels, size, d = books.shape
        self.register_buffer("books", books)
        self.register_buffer("digits", digits)
        self.turn = nn.Linear(d, d, bias=False)
        nn.init.zeros_(self.turn.weight)
        self.bias = nn.Parameter(torch.zeros(levels, size))
        self.books: Tensor
        self.digits: Tensor

    @property
    def levels(self) -> int:
        """Digits that the decoder predicts; one more tells items of one code apart."""
        return len(self.books)

    def trie(self, rows: Tensor) -> Trie:
        """The trie of those items ``[n]`` that have a code."""
        coded = rows[self.digits[rows, 0] >= 0]
        return Trie.of(self.digits[coded].numpy(), coded.numpy(), len(self.digits))

    def read(self, digits: Tensor) -> Tensor:
        """Decoder inputs ``[..., l, d]`` of the first ``l`` digits ``[..., l]`` of codes."""
        begins = torch.arange(digits.shape[-1], device=digits.device) * self.books.shape[1]
        points = F.embedding(digits + begins, self.books.flatten(0, 1)).cumsum(dim=-2)
        scaled: Tensor = points * points.shape[-1] ** 0.5
        return scaled

    def logits(self, level: int, states: Tensor, queries: Tensor) -> Tensor:
        """Logits ``[..., size]`` of one level's digits; their sum over a code is an item's score.

        Args:
            level: From 0.
            states: ``[..., d]`` of the decoder, after the digits before.
            queries: ``[..., d]`` of the retriever, over its temperature.
        """
        turned = queries + self.turn(states)
        logits: Tensor = turned @ self.books[level].T + self.bias[level]
        return logits


def shares(trie: Trie, weights: Tensor | None = None) -> Tensor:
    """``[nodes]`` log of the items below each node of a trie.

    A beam goes where many items are rather than where few are; at a leaf it is the item's own.

    Args:
        trie: Of the items that can be generated.
        weights: ``[items]`` float64 above 0, what an item counts; 1 each where None.
    """
    begin, end = trie.levels[-2:]
    mass = torch.zeros(end, dtype=torch.float64, device=trie.rows.device)
    mass[begin:] = 1.0 if weights is None else weights[trie.rows]
    for low, high, after in zip(
        trie.levels[-3::-1], trie.levels[-2:0:-1], trie.levels[:1:-1], strict=True
    ):
        # Level by level from below: a difference of running sums would lose the lightest items.
        counts = torch.diff(trie.first[low : high + 1])
        parents = torch.repeat_interleave(torch.arange(low, high, device=mass.device), counts)
        mass.index_add_(0, parents, mass[high:after].clone())
    prior = mass.log()
    prior[begin:] -= NEARER * trie.digits[begin:]
    return prior.float()
