"""Codes ("semantic ids"): residual k-means over item vectors, frozen once fitted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p5mm.arrays import Expected, read_arrays, write_arrays
from p5mm.errors import InputError
from p5mm.retrieval.tuning import import_faiss

REMEDY = "it holds no codebooks: fit the codes again"


@dataclass(frozen=True)
class Codes:
    """Codebooks that turn any vector into digits, coarse to fine.

    Attributes:
        codebooks: ``[levels, size, d]`` float32; level ``l`` holds centroids of what the levels
            before it leave over.

    Example:
        >>> codes = fit_codes(np.eye(4, dtype=np.float32), levels=2, size=4)
        >>> codes.assign(np.eye(4, dtype=np.float32)).shape
        (4, 2)
    """

    codebooks: NDArray[np.float32]

    @property
    def levels(self) -> int:
        """Digits of a code, without the one that resolves collisions."""
        return int(self.codebooks.shape[0])

    @property
    def size(self) -> int:
        """Values that a digit may take."""
        return int(self.codebooks.shape[1])

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes ``[n, levels]`` int64 of vectors ``[n, d]``; new items need no training.

        Raises:
            InputError: The vectors have another dimension than the codebooks.
        """
        return self._quantise(vectors)[0]

    def unique(
        self,
        vectors: NDArray[np.float32],
        item_ids: Sequence[str],
        given: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Codes ``[n, levels + 1]`` int64, all different: a last digit resolves collisions.

        Items of one code are numbered by their distance to the code's point, nearest first, and
        by id where that is equal: the order of the items plays no part.

        Args:
            vectors: ``[n, d]``.
            item_ids: Of the items.
            given: ``[m, levels + 1]`` codes of other items, which stay; None for none.
        """
        digits, residuals = self._quantise(vectors)
        distance = np.einsum("nd,nd->n", residuals, residuals)
        last = np.zeros(len(digits), dtype=np.int64)
        others = np.empty((0, self.levels), np.int64) if given is None else given[:, :-1]
        taken = Counter(np.ascontiguousarray(code).tobytes() for code in others)
        for row in sorted(range(len(digits)), key=lambda row: (distance[row], item_ids[row])):
            code = digits[row].tobytes()
            last[row] = taken[code]
            taken[code] += 1
        return np.column_stack([digits, last])

    def report(self, vectors: NDArray[np.float32], item_ids: Sequence[str]) -> "CodeReport":
        """Use, entropy and collisions of these items' codes."""
        digits = self.assign(vectors)
        shares = [
            np.bincount(level, minlength=self.size) / max(len(level), 1) for level in digits.T
        ]
        counts = np.unique(digits, axis=0, return_counts=True)[1]
        after = len(digits) - len(np.unique(self.unique(vectors, item_ids), axis=0))
        return CodeReport(
            items=len(digits),
            size=self.size,
            used=tuple(int((share > 0).sum()) for share in shares),
            entropy=tuple(_entropy(share) for share in shares),
            colliding=int(counts[counts > 1].sum()),
            largest=int(counts.max(initial=0)),
            colliding_after=after,
        )

    def save(self, path: str | Path) -> None:
        """Writes the codebooks as safetensors.

        Raises:
            OSError: The file cannot be written.
        """
        write_arrays(path, {"codebooks": self.codebooks})

    @classmethod
    def load(cls, path: str | Path) -> "Codes":
        """The codes that ``save`` wrote.

        Raises:
            InputError: The file is missing or holds no codebooks.
        """
        expected = {"codebooks": Expected((None, None, None))}
        return cls(read_arrays(path, expected, REMEDY)["codebooks"])

    def _quantise(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if vectors.ndim != 2 or vectors.shape[1] != self.codebooks.shape[2]:
            raise InputError(
                f"vectors have shape {vectors.shape}; the codes take [n, {self.codebooks.shape[2]}]"
            )
        residuals = np.array(vectors, dtype=np.float32)
        digits = np.empty((len(residuals), self.levels), dtype=np.int64)
        for level, book in enumerate(self.codebooks):
            digits[:, level] = _nearest(residuals, book)
            residuals -= book[digits[:, level]]
        return digits, residuals


@dataclass(frozen=True)
class CodeReport:
    """What codes look like before anything is trained on them.

    Attributes:
        items: How many items.
        size: Values that a digit may take.
        used: Values in use, a level each.
        entropy: Entropy of the digits in bits, a level each; log2(size) is the most.
        colliding: Items that share their code with another, before the last digit.
        largest: Items in the fullest code.
        colliding_after: Items whose code is not their own after the last digit; always 0.
    """

    items: int
    size: int
    used: tuple[int, ...]
    entropy: tuple[float, ...]
    colliding: int
    largest: int
    colliding_after: int

    def __str__(self) -> str:
        levels = [
            f"level {level}: {used} of {self.size} values used, entropy {entropy:.2f} of "
            f"{np.log2(self.size):.2f} bits"
            for level, (used, entropy) in enumerate(zip(self.used, self.entropy, strict=True), 1)
        ]
        collisions = (
            f"{self.colliding} of {self.items} items share a code (at most {self.largest} one); "
            f"with the last digit {self.colliding_after}"
        )
        return "\n".join([*levels, collisions])


def fit_codes(
    vectors: NDArray[np.float32], levels: int = 3, size: int = 256, seed: int = 0
) -> Codes:
    """Residual k-means: each level clusters what the levels before it leave over.

    The "RK-means" tokenizer of OneRec and GRID: TIGER's residual codes (Rajput et al. 2023,
    section 3.1) without its autoencoder.

    Args:
        vectors: ``[n, d]`` float32 item vectors.
        levels: Digits of a code.
        size: Values of a digit; at most ``n`` are made.
        seed: Of the first centroids.

    Raises:
        InputError: No vectors, NaN or infinite ones, or levels or size below 1.
    """
    if vectors.ndim != 2 or len(vectors) == 0 or not np.isfinite(vectors).all():
        raise InputError(f"codes need finite vectors [n, d] with n >= 1; given {vectors.shape}")
    if levels < 1 or size < 1:
        raise InputError(f"levels {levels} and size {size}: both must be at least 1")
    residuals = np.array(vectors, dtype=np.float32)
    books = []
    for level in range(levels):
        book = _kmeans(residuals, min(size, len(residuals)), seed + level)
        residuals -= book[_nearest(residuals, book)]
        books.append(book)
    return Codes(np.stack(books))


def _kmeans(vectors: NDArray[np.float32], size: int, seed: int) -> NDArray[np.float32]:
    faiss = import_faiss()
    kmeans = faiss.Kmeans(
        vectors.shape[1], size, niter=25, seed=seed + 1, min_points_per_centroid=1
    )
    kmeans.train(vectors)
    centroids: NDArray[np.float32] = kmeans.centroids
    return centroids


def _nearest(vectors: NDArray[np.float32], book: NDArray[np.float32]) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = import_faiss().knn(vectors, book, 1)[1][:, 0]
    return rows


def _entropy(shares: NDArray[np.float64]) -> float:
    used = shares[shares > 0]
    return float(-(used * np.log2(used)).sum()) + 0.0
