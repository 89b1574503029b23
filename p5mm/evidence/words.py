"""How alike the words of items are: what an embedding of a text blurs, such as a brand's name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Words:
    """Vectors of texts by their words, tf-idf of unit length (Salton and Buckley 1988, "ltc").

    Attributes:
        matrix: ``[n, v]`` CSR float32; a text without a word that tells it from others is zero.
    """

    matrix: Any

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> "Words":
        """Count the words of texts."""
        numbers: dict[str, int] = {}
        words = [WORD.findall((text or "").lower()) for text in texts]
        rows = np.repeat(np.arange(len(words)), [len(of) for of in words])
        columns = [numbers.setdefault(word, len(numbers)) for of in words for word in of]
        shape, ones = (len(words), len(numbers)), np.ones(len(columns), np.float32)
        counts = sp.csr_matrix((ones, (rows, np.array(columns, np.int64))), shape=shape)
        rare = np.log(len(words) / np.maximum(1, counts.getnnz(axis=0)))
        counts.data = 1 + np.log(counts.data)
        return cls(_unit(counts @ sp.diags(rare, shape=(len(rare), len(rare)))))

    def __call__(self, weights: Any, candidates: Tensor) -> Tensor:
        """Cosine ``[b, m]`` of candidate rows ``[b, m]`` and weighted sums of items.

        Args:
            weights: ``[b, n]`` CSR, of each item in a sum.
            candidates: int64.
        """
        wanted = _unit(weights @ self.matrix)
        found = [
            (self.matrix[rows] @ wanted[line].T).toarray().ravel()
            for line, rows in enumerate(candidates.numpy())
        ]
        shape = tuple(candidates.shape)
        return torch.from_numpy(np.array(found, dtype=np.float32).reshape(shape))


def _unit(matrix: Any) -> Any:
    """CSR float32 whose rows have length 1, or 0 where they had."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return (sp.diags(scale, shape=(len(scale), len(scale))) @ matrix).tocsr().astype(np.float32)
