"""A trained network at work without torch; it ranks as p5mm.ranking.scorer does."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.evidence.recency import latest
from p5mm.portable.evidence import Evidence
from p5mm.portable.graph import Graph
from p5mm.portable.settings import Settings
from p5mm.portable.vectors import Vectors
from p5mm.ranking.candidates import Candidates, first_allowed, parted
from p5mm.ranking.places import BEYOND, best, lifted
from p5mm.ranking.shortlist import completed


@dataclass(frozen=True)
class PortableScorer:
    """Ranks items for histories by onnxruntime, faiss and numpy.

    Attributes:
        settings: Numbers that it answers by.
        tokens: Soft tokens of each item, one after the other.
        vectors: Unit retrieval vectors.
        bias: ``[n]`` float32 added to every logit of the retriever.
        known: ``[n]`` True where something is known of an item.
        trained: ``[n]`` True where somebody took it.
        evidence: Of candidates and histories.
        candidates: Finds the items that are reranked.
        encoder: Makes the query of a history.
        decoder: Makes the logit of a candidate; None where it is not weighed.
    """

    settings: Settings
    tokens: Vectors
    vectors: Vectors
    bias: NDArray[np.float32]
    known: NDArray[np.bool_]
    trained: NDArray[np.bool_]
    evidence: Evidence
    candidates: Candidates
    encoder: Graph
    decoder: Graph | None

    @property
    def max_history(self) -> int:
        """Items of a history that are read."""
        return self.settings.max_history

    def within(self, rows: NDArray[np.int64]) -> "PortableScorer":
        """The same scorer when only some catalog rows may be candidates."""
        return replace(self, candidates=self.candidates.among(rows))

    def rank(
        self,
        histories: Histories,
        k: int,
        never: Histories | None = None,
        only: Histories | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best ``k`` items of each history, as `p5mm.ranking.scorer.Scorer.rank` gives them."""
        queries = self.read(histories)
        first, rest = self._found(queries, never, k, only)
        new = ~self.trained[np.maximum(first, 0)]
        reranked = self._scores(self._competing, queries, histories, first)
        below = self._scores(self._below, queries, histories, rest)
        rows = np.concatenate([first, rest], axis=1)
        scores = np.concatenate([lifted(reranked, new, self.settings.lift), below], axis=1)
        return best(rows, scores, k)

    def read(self, histories: Histories) -> NDArray[np.float32]:
        """What candidates are looked for with ``[b, d]``: unit queries after whole histories."""
        rows, ratings, _ = latest(histories, self.max_history, self.settings.rating_scale)
        lengths = np.minimum(histories.lengths, self.max_history)
        in_time = np.maximum(lengths[:, None] - 1 - np.arange(rows.shape[1]), 0)
        rows = np.take_along_axis(rows, in_time, axis=1)
        ratings = np.take_along_axis(ratings, in_time, axis=1)
        events = self.tokens[rows].reshape(*rows.shape, self.settings.soft_tokens, -1)
        return self.encoder(events=events, ratings=ratings, lengths=lengths)

    def _found(
        self, queries: NDArray[np.float32], never: Histories | None, k: int, only: Histories | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is reranked, and what more the best ``k`` need."""
        c, n = self.settings.candidates, self.settings.newcomers
        if only is None:
            taken = self.candidates.taken.find(queries, never, max(c, k))
            new = self.candidates.new.find(queries, never, max(n, k))
        else:
            taken, new = self._listed(queries, never, only)
        first = np.concatenate([taken[:, :c], new[:, :n]], axis=1)
        return first, np.concatenate([taken[:, c:], new[:, n:]], axis=1)

    def _listed(
        self, queries: NDArray[np.float32], never: Histories | None, only: Histories
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = only.padded()
        if never is not None:
            rows = first_allowed(rows, never, len(self.vectors), rows.shape[1])
        rows = np.where(self.known[rows], rows, -1)
        return parted(rows, self._logits(queries, np.maximum(rows, 0)), self.trained)

    def _scores(
        self,
        score: Callable[..., NDArray[np.float32]],
        queries: NDArray[np.float32],
        histories: Histories,
        rows: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """``[b, n]`` of rows ``[b, n]``; minus infinity where there is no row."""
        if not rows.size:
            return np.empty(rows.shape, dtype=np.float32)
        scores = score(queries, histories, rows)
        return np.where(rows < 0, -np.inf, scores).astype(np.float32)

    def _competing(
        self, queries: NDArray[np.float32], histories: Histories, found: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The sum of all parts."""
        weights, rows, read = self.settings.weights, np.maximum(found, 0), self._read(histories)
        logits = self._logits(queries, rows)
        scores = logits + self.bias[rows]
        if self.decoder is not None:
            scores += weights.decoder * self._decoded(self.decoder, logits, histories, found)
        if weights.together:
            scores += weights.together * self.evidence.together(read, rows)
        for name, weight in weights.content.items():
            scores += weight * self.evidence.likeness(name, read, rows)
        return scores

    def _decoded(
        self,
        decoder: Graph,
        logits: NDArray[np.float32],
        histories: Histories,
        found: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """The decoder's logits, which reads a shortlist."""
        columns, there = self.settings.shortlist.columns(found, self.trained)
        rows = np.maximum(np.take_along_axis(found, columns, 1), 0)
        facts = self.evidence.facts(np.take_along_axis(logits, columns, 1), histories, rows)
        related = self.evidence.relations(histories, rows)
        read = decoder(facts=facts, relations=related, lengths=histories.lengths)
        return completed(read, columns, there, found.shape[1])

    def _below(
        self, queries: NDArray[np.float32], _: Histories, found: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The retriever's logits, below every reranked score."""
        rows = np.maximum(found, 0)
        return self._logits(queries, rows) + self.bias[rows] - np.float32(BEYOND)

    def _logits(self, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        cosines = (self.vectors[rows] @ queries[..., None])[..., 0]
        return cosines / np.float32(self.settings.temperature)

    def _read(self, histories: Histories) -> Histories:
        """The last items of each history, as many as the network reads."""
        return histories.tail(np.minimum(histories.lengths, self.max_history))
