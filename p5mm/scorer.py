"""A trained network at work: retrieve, rerank, and combine the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from p5mm.batches import Batch, history_batch, scaled
from p5mm.errors import InputError
from p5mm.evidence import Evidence
from p5mm.histories import Histories
from p5mm.kin import Kin
from p5mm.model import TEMPERATURE, Encoded, Network

DECODER = "decoder"  # name of the T5's own logit among the parts of a score
LOWEST = -1e4  # bias of items of which nothing is known: below every score, yet comparable
BEYOND = 1e3  # how far all items that were not reranked stand below those that were


@dataclass(frozen=True)
class Scorer:
    """Scores items of a catalog for histories, with item vectors made once.

    Attributes:
        network: In evaluation mode.
        prompt: Token ids of the prompt that the reranker reads.
        max_history: Items of a history that are read.
        candidates: Items that the retriever hands to the reranker.
        evidence: Similarities of histories and candidates; None where none is weighed.
        weights: Weight of the decoder's logit and of each kind of evidence beside the retrieval
            logit; empty leaves the retriever alone.
        rating_scale: Mean and spread of ratings in training.
        bias: ``[n]`` added to every score: 0 for items seen in training, minus the handicap for
            items known by content alone, ``LOWEST`` for items of which nothing is known.
        rows: ``[r]`` int64 item rows that may be recommended; all where None.
        tokens: Soft tokens ``[n, k, d]`` of the whole catalog.
        vectors: Unit retrieval vectors ``[n, d]``.
    """

    network: Network
    prompt: Sequence[int]
    max_history: int
    candidates: int
    rating_scale: tuple[float, float]
    tokens: Tensor
    vectors: Tensor
    bias: Tensor
    evidence: Evidence | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    rows: NDArray[np.int64] | None = None

    @classmethod
    @torch.inference_mode()
    def of(
        cls,
        network: Network,
        prompt: Sequence[int],
        max_history: int,
        candidates: int,
        rating_scale: tuple[float, float] = (0.0, 1.0),
        handicap: float = 0.0,
        kin: Kin | None = None,
    ) -> "Scorer":
        """Make the item vectors of a network; the retriever alone ranks until there are weights.

        Args:
            network: Trained.
            prompt: Token ids of the prompt that the reranker reads.
            max_history: Items of a history that are read.
            candidates: Items that the retriever hands to the reranker.
            rating_scale: Mean and spread of ratings in training.
            handicap: What the scores of items never taken are lowered by.
            kin: What stands in for them; where None they stand for themselves.
        """
        network.eval()
        tokens = network.items() if kin is None else kin.adopt(network.items())
        bias = torch.where(network.items.trained, 0.0, -handicap)
        bias = bias.masked_fill(~network.items.known, LOWEST)
        vectors = network.vectors(tokens)
        return cls(
            network, prompt, max_history, candidates, rating_scale, tokens, vectors, bias
        )  # fmt: skip

    def weighing(self, evidence: Evidence | None, weights: Mapping[str, float]) -> "Scorer":
        """The same retriever with a reranker; parts of weight 0 are left out."""
        used = {name: weight for name, weight in weights.items() if weight}
        return replace(self, evidence=evidence, weights=used)

    def alone(self) -> "Scorer":
        """The retriever without the reranker."""
        return replace(self, weights={})

    def among(self, rows: NDArray[np.int64]) -> "Among":
        """A ranker of some of the items, in their own numbers: position in ``rows``."""
        return Among(replace(self, rows=rows), rows)

    def index_vectors(self) -> NDArray[np.float32]:
        """``[n, d + 1]``: inner product with ``index_queries`` orders items as their scores do."""
        bias = self.bias.clamp(min=-BEYOND)[:, None] * TEMPERATURE
        return torch.cat([self.vectors, bias], dim=1).numpy()

    def index_queries(self, queries: Tensor, biased: bool = True) -> NDArray[np.float32]:
        """``[b, d + 1]`` of queries ``[b, d]``; without the bias, plain cosines."""
        column = torch.full((len(queries), 1), float(biased))
        return torch.cat([queries, column], dim=1).numpy()

    @torch.inference_mode()
    def encode(self, histories: Histories) -> Encoded:
        """Read each history once; ratings as they were given."""
        return self.network.encode(self.tokens, self.batch(histories))

    def batch(self, histories: Histories) -> Batch:
        """What is read of histories, ratings in units of the training ratings."""
        return scaled(history_batch(histories, self.max_history), self.rating_scale)

    @torch.inference_mode()
    def rerank(self, encoded: Encoded, histories: Histories, candidates: Tensor) -> Tensor:
        """Combined scores ``[b, n]`` of candidate rows ``[b, n]``."""
        scores = self.retrieval(encoded, candidates)
        for name, weight in self.weights.items():
            scores = scores + weight * self.part(name, encoded, histories, candidates)
        return scores

    @torch.inference_mode()
    def retrieval(self, encoded: Encoded, candidates: Tensor) -> Tensor:
        """The retriever's logits ``[b, n]`` of candidate rows ``[b, n]``."""
        items = F.embedding(candidates, self.vectors)
        logits = (items @ encoded.last[..., None]).squeeze(-1) / TEMPERATURE
        return logits + self.bias[candidates]

    @torch.inference_mode()
    def part(self, name: str, encoded: Encoded, histories: Histories, candidates: Tensor) -> Tensor:
        """One part of a score ``[b, n]``, unweighted: the decoder's logit, or evidence."""
        if name != DECODER:
            if self.evidence is None:
                raise InputError(f"no evidence is at hand to weigh '{name}'")
            return self.evidence(name, self._read(histories), candidates)
        seen = encoded.seen_until(encoded.lengths[:, None])
        tokens = F.embedding(candidates, self.tokens.mean(dim=1))
        return self.network.rank(encoded, seen, self.prompt, tokens[:, None])[:, 0]

    def _read(self, histories: Histories) -> Histories:
        """The last items of each history, as many as the network reads."""
        return histories.tail(np.minimum(histories.lengths, self.max_history))

    @torch.inference_mode()
    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """Final scores ``[b, n]`` of the whole catalog: candidates reranked, the rest below."""
        return self._scores(self.encode(histories), histories).numpy()

    @torch.inference_mode()
    def retrieve(self, encoded: Encoded, histories: Histories) -> tuple[Tensor, Tensor]:
        """The retriever's best: rows and logits, both ``[b, candidates]``.

        What may be no candidate (it is in the history, or not in ``rows``) has minus infinity; it
        is there only where fewer others are left.
        """
        best = self._best(self._open(self._logits(encoded), histories))
        return best.indices, best.values

    def _logits(self, encoded: Encoded) -> Tensor:
        """The retriever's logits ``[b, n]`` of the whole catalog."""
        return encoded.last @ self.vectors.T / TEMPERATURE + self.bias

    def _best(self, open_scores: Tensor) -> torch.return_types.topk:
        return open_scores.topk(min(self.candidates, open_scores.shape[1]))

    def _scores(self, encoded: Encoded, histories: Histories) -> Tensor:
        scores = self._logits(encoded)
        if not self.weights:
            return scores
        best = self._best(self._open(scores, histories))
        top, live = best.indices, ~best.values.isinf()
        final = self.rerank(encoded, histories, top)
        below = (scores - BEYOND).clamp(min=LOWEST)
        return below.scatter(1, top, torch.where(live, final, below.gather(1, top)))

    def _open(self, scores: Tensor, histories: Histories) -> Tensor:
        """Scores with what may not be a candidate at minus infinity."""
        users = np.repeat(np.arange(len(histories)), histories.lengths)
        taken = torch.from_numpy(users), torch.from_numpy(histories.items)
        closed = scores.index_put(taken, torch.tensor(-torch.inf))
        if self.rows is None:
            return closed
        allowed = torch.zeros(scores.shape[1], dtype=torch.bool)
        allowed[torch.from_numpy(self.rows)] = True
        return closed.masked_fill(~allowed, -torch.inf)


@dataclass(frozen=True)
class Among:
    """A scorer of some items of a catalog: histories and scores count in those items only."""

    scorer: Scorer
    rows: NDArray[np.int64]

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, len(rows)]`` final scores."""
        whole = replace(histories, items=self.rows[histories.items])
        return self.scorer.scores(whole)[:, self.rows]
