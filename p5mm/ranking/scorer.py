"""A trained network at work: retrieve, rerank, and combine the two."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.evidence.cold_items import ColdItems
from p5mm.evidence.relations import Relations
from p5mm.evidence.similarity import ItemSimilarity
from p5mm.model.batches import Batch, history_batch, scaled
from p5mm.model.network import Encoded, Network
from p5mm.ranking.among import Among
from p5mm.ranking.candidates import Candidates, candidate_index, first_allowed, parted
from p5mm.ranking.generator import Generator
from p5mm.ranking.places import BEYOND, best, lifted
from p5mm.ranking.shortlist import Shortlist, completed
from p5mm.retrieval.index import VectorIndex

DECODER = "decoder"  # name of the T5's own logit among the parts of a score
LOWEST = -1e4  # logit of items of which nothing is known: below every other, yet comparable
Part = Callable[[str, Encoded, Histories, Tensor], Tensor]


@dataclass(frozen=True)
class Asking:
    """How a network is asked.

    Attributes:
        prompt: Token ids of the prompt that the reranker reads.
        max_history: Items of a history that are read.
        candidates: Items that somebody took, which the retriever hands to the reranker.
        shortlist: How many of the candidates the decoder reads.
        newcomers: Items that nobody has taken that it hands over besides.
        index: Kind of the index that candidates are found in.
        rating_scale: Mean and spread of ratings in training.
    """

    prompt: Sequence[int]
    max_history: int
    candidates: int
    shortlist: Shortlist
    newcomers: int = 0
    index: str = "auto"
    rating_scale: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Scorer:
    """Scores items of a catalog for histories, with item vectors made once.

    Attributes:
        network: In evaluation mode.
        asking: How it is asked.
        tokens: Soft tokens ``[n, k, d]`` of the whole catalog.
        vectors: Unit retrieval vectors ``[n, d]``.
        candidates: Finds the items that are reranked.
        handicap: What the logits of items never taken are lowered by.
        lift: What they are raised by again beyond the first page.
        similarity: Of histories and candidates; None where none is weighed.
        relations: That the decoder reads; None where it is not weighed.
        weights: Weight of the decoder's logit and of each similarity beside the retrieval logit;
            empty leaves the retriever alone.
        deleted: ``[n]`` bool, True for items that are found by nobody; None where all may be.
    """

    network: Network
    asking: Asking
    tokens: Tensor
    vectors: Tensor
    candidates: Candidates | Generator
    handicap: float = 0.0
    lift: float = 0.0
    similarity: ItemSimilarity | None = None
    relations: Relations | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    deleted: NDArray[np.bool_] | None = None

    @classmethod
    @torch.inference_mode()
    def of(
        cls,
        network: Network,
        asking: Asking,
        cold_items: ColdItems,
        item_ids: Sequence[str],
        index: VectorIndex | None = None,
        generator: Generator | None = None,
    ) -> "Scorer":
        """Make the item vectors of a network; the retriever alone ranks until there are weights.

        Args:
            network: Trained.
            asking: How it is asked.
            cold_items: What stands in for items that nobody has taken.
            item_ids: Of the whole catalog.
            index: Of these very vectors, as ``candidates`` has it; built where None.
            generator: Finds the candidates instead of an index, which is then neither made nor
                read.
        """
        network.eval()
        tokens = cold_items.adopt(network.items())
        vectors = network.vectors(tokens)
        if generator is not None:
            return cls(network, asking, tokens, vectors, generator)
        if index is None:
            index = candidate_index(network, vectors, item_ids, asking.index)
        known, trained = network.items.known.numpy(), network.items.trained.numpy()
        found = Candidates.of(index, vectors.numpy(), known, trained)
        return cls(network, asking, tokens, vectors, found)

    def weighing(self, weights: Mapping[str, float]) -> "Scorer":
        """The same evidence with other weights; parts of weight 0 are left out."""
        return replace(self, weights={name: weight for name, weight in weights.items() if weight})

    def handicapped(self, handicap: float, lift: float = 0.0) -> "Scorer":
        """The same scorer with another handicap of items never taken, and another lift."""
        found = self.candidates
        if isinstance(found, Generator):
            found = found.handicapped(handicap)
        return replace(self, handicap=handicap, lift=lift, candidates=found)

    def asked_by(self, prompt: Sequence[int]) -> "Scorer":
        """The same scorer whose decoder reads another prompt, token ids ``[p]``."""
        return replace(self, asking=replace(self.asking, prompt=prompt))

    def alone(self) -> "Scorer":
        """The retriever without the reranker."""
        return replace(self, weights={})

    def within(self, rows: NDArray[np.int64]) -> "Scorer":
        """The same scorer when only some catalog rows may be candidates."""
        return replace(self, candidates=self.candidates.among(rows[self.findable[rows]]))

    def without(self, deleted: NDArray[np.bool_]) -> "Scorer":
        """The same scorer that finds some items ``[n]`` for nobody; histories may hold them."""
        if not deleted.any():
            return self
        return replace(self, deleted=deleted).within(np.arange(len(deleted)))

    def among(self, rows: NDArray[np.int64], seen: bool = False) -> Among:
        """A ranker of some of the items, in their own numbers: position in ``rows``.

        Args:
            rows: Catalog rows.
            seen: What a history holds may be a candidate.
        """
        return Among(self.within(rows), rows, seen)

    @property
    def max_history(self) -> int:
        """Items of a history that are read."""
        return self.asking.max_history

    @cached_property
    def findable(self) -> NDArray[np.bool_]:
        """``[n]`` True where something is known of an item, and it is not deleted."""
        known: NDArray[np.bool_] = self.network.items.known.numpy()
        return known if self.deleted is None else known & ~self.deleted

    @cached_property
    def bias(self) -> Tensor:
        """``[n]`` added to every logit: minus the handicap where an item was never taken."""
        bias = torch.where(self.network.items.trained, 0.0, -self.handicap)
        return bias.masked_fill(~torch.from_numpy(self.findable), LOWEST)

    @cached_property
    def appended_bias(self) -> Tensor:
        """``[1, heads, k, 1 + s * k]`` position bias of one item behind the longest history read.

        Behind a shorter one it is the end of the last axis: the bias knows distances alone.
        """
        k = self.network.items.k
        longest = 1 + self.asking.max_history * k
        bias: Tensor = self.network.t5.encoder.position_bias(
            longest, causal=True, first=longest - k
        )
        return bias

    @torch.inference_mode()
    def encode(self, histories: Histories) -> Encoded:
        """Read each history once; ratings as they were given."""
        return self.asked(self.network.encode(self.tokens, self.batch(histories)), histories)

    def asked(self, encoded: Encoded, _: Histories) -> Encoded:
        """What candidates are looked for with, once histories are read."""
        return encoded

    def batch(self, histories: Histories) -> Batch:
        """What is read of histories, ratings in units of the training ratings."""
        batch = history_batch(histories, self.asking.max_history)
        return scaled(batch, self.asking.rating_scale)

    def retrieve(
        self, encoded: Encoded, histories: Histories, *, seen: bool = False
    ) -> NDArray[np.int64]:
        """What is reranked ``[b, n]``: catalog rows, -1 where there are no more.

        The retriever's best of the items that somebody took, best first, then its best new ones.

        Args:
            encoded: The histories, read once.
            histories: What they hold is no candidate.
            seen: What the history holds may be a candidate.
        """
        return self.found(encoded, None if seen else histories, 0)[0]

    def found(
        self,
        encoded: Encoded,
        never: Histories | None,
        k: int,
        only: Histories | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is reranked, as ``retrieve`` gives it, and what more the best ``k`` items need.

        Args:
            encoded: The histories, read once.
            never: Catalog rows that each may not get; None for none.
            k: How many items are wanted.
            only: Catalog rows that each may get; None for all that are candidates.
        """
        c, n = self.asking.candidates, self.asking.newcomers
        if only is not None:
            taken, new = self._listed(encoded, never, only)
        elif isinstance(self.candidates, Generator):
            taken = self.candidates.find(encoded, self.asking.prompt, never, max(c, k), c)
            new = taken[:, :0]
        else:
            queries = encoded.last.numpy()
            taken = self.candidates.taken.find(queries, never, max(c, k))
            new = self.candidates.new.find(queries, never, max(n, k))
        first = np.concatenate([taken[:, :c], new[:, :n]], axis=1)
        return first, np.concatenate([taken[:, c:], new[:, n:]], axis=1)

    @torch.inference_mode()
    def rank(
        self,
        histories: Histories,
        k: int,
        never: Histories | None = None,
        only: Histories | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best ``k`` items of each history: rows ``[b, k]``, -1 beyond the last, and scores.

        The candidates come first, in the order of their scores, then the retriever's next best in
        its own: the order for a small k begins the order for a large one.

        Args:
            histories: ``b`` histories.
            k: How many items are wanted; fewer come only where no more may.
            never: Catalog rows that each may not get, such as the histories; None for none.
            only: Catalog rows that each may get; None for all that are candidates.
        """
        return self.ranked(self.encode(histories), histories, k, never, only)

    @torch.inference_mode()
    def ranked(
        self,
        encoded: Encoded,
        histories: Histories,
        k: int,
        never: Histories | None = None,
        only: Histories | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """What ``rank`` gives for histories that are read already; arguments as there."""
        first, rest = self.found(encoded, never, k, only)
        scores = [self._placed(self.competing(encoded, histories, first), first)]
        if rest.shape[1]:
            scores.append(self._below(encoded, rest))
        return best(np.concatenate([first, rest], axis=1), np.concatenate(scores, axis=1), k)

    @torch.inference_mode()
    def rerank(self, encoded: Encoded, histories: Histories, candidates: Tensor) -> Tensor:
        """Combined scores ``[b, n]`` of candidate rows ``[b, n]``, each as if asked alone."""
        return self._combined(self.part, encoded, histories, candidates)

    @torch.inference_mode()
    def competing(
        self, encoded: Encoded, histories: Histories, rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Combined scores ``[b, n]`` of what ``found`` gives to rerank; minus infinity where none.

        They are those of ``rerank`` but for candidates beyond the shortlist.
        """
        found = torch.from_numpy(rows)
        scores = self._combined(self.part_of_found, encoded, histories, found)
        return scores.masked_fill(found < 0, -torch.inf).numpy()

    @torch.inference_mode()
    def part_of_found(
        self, name: str, encoded: Encoded, histories: Histories, rows: Tensor
    ) -> Tensor:
        """``part`` of candidates found together ``[b, n]``, -1 for none; a shortlist is read."""
        candidates = rows.clamp(min=0)
        if name != DECODER:
            return self.part(name, encoded, histories, candidates)
        trained = self.network.items.trained.numpy()
        columns, there = self.asking.shortlist.columns(rows.numpy(), trained)
        read = candidates.gather(1, torch.from_numpy(columns))
        logits = self.part(name, encoded, histories, read).numpy()
        return torch.from_numpy(completed(logits, columns, there, rows.shape[1]))

    def _combined(self, part: Part, encoded: Encoded, histories: Histories, rows: Tensor) -> Tensor:
        scores = self.retrieval(encoded, rows.clamp(min=0))
        for name, weight in self.weights.items():
            scores = scores + weight * part(name, encoded, histories, rows)
        return scores

    @torch.inference_mode()
    def retrieval(self, encoded: Encoded, candidates: Tensor) -> Tensor:
        """The retriever's logits ``[b, n]`` of candidate rows ``[b, n]``, new items handicapped."""
        return self._logits(encoded, candidates) + self.bias[candidates]

    @torch.inference_mode()
    def part(self, name: str, encoded: Encoded, histories: Histories, candidates: Tensor) -> Tensor:
        """One part of a score ``[b, n]``, unweighted: the decoder's logit, or a similarity."""
        if name == DECODER:
            return self.network.rerank(
                self.asking.prompt, *self.read(encoded, histories, candidates)
            )
        if self.similarity is None:
            raise InputError(f"no similarity is at hand to weigh '{name}'")
        return self.similarity(name, self._read(histories), candidates)

    @torch.inference_mode()
    def read(
        self, encoded: Encoded, histories: Histories, candidates: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the decoder reads of candidate rows ``[b, n]``.

        Returns:
            Facts ``[b, n, f]``, relations ``[b, n, s, r]``, lengths ``[b]`` of the histories.
        """
        if self.relations is None:
            raise InputError("no relations are at hand for the decoder to read")
        facts = self.relations.facts(self._logits(encoded, candidates), histories, candidates)
        related = self.relations(histories, candidates)
        return facts, related, torch.from_numpy(histories.lengths)

    @torch.inference_mode()
    def scores(self, histories: Histories, seen: bool = False) -> NDArray[np.float32]:
        """Final scores ``[b, n]`` of the whole catalog: candidates reranked, the rest below.

        Args:
            histories: ``b`` histories.
            seen: What the history holds may be a candidate.
        """
        encoded = self.encode(histories)
        rows = self.retrieve(encoded, histories, seen=seen)
        final = self._placed(self.competing(encoded, histories, rows), rows)
        logits = encoded.last @ self.vectors.T / self.network.temperature + self.bias
        scores = (logits - BEYOND).clamp(min=LOWEST).numpy()
        users, places = np.nonzero(rows >= 0)
        scores[users, rows[users, places]] = final[users, places]
        return scores

    def _placed(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores ``[b, n]`` of candidate rows ``[b, n]``, new ones lifted beyond the first page."""
        new = ~self.network.items.trained.numpy()[np.maximum(rows, 0)]
        return lifted(scores, new, self.lift)

    @torch.inference_mode()
    def _listed(
        self, encoded: Encoded, never: Histories | None, only: Histories
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of lists of rows those that somebody took, and the new ones, each by logit, -1 beyond."""
        rows = only.padded()
        if never is not None:
            rows = first_allowed(rows, never, len(self.vectors), rows.shape[1])
        rows = np.where(self.findable[rows], rows, -1)
        logits = self._logits(encoded, torch.from_numpy(rows).clamp(min=0)).numpy()
        return parted(rows, logits, self.network.items.trained.numpy())

    def _logits(self, encoded: Encoded, candidates: Tensor) -> Tensor:
        items = F.embedding(candidates, self.vectors)
        return (items @ encoded.last[..., None]).squeeze(-1) / self.network.temperature

    def _below(self, encoded: Encoded, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The retriever's logits ``[b, n]``, below every reranked score; -inf for none."""
        found = torch.from_numpy(rows)
        logits = self.retrieval(encoded, found.clamp(min=0)) - BEYOND
        return logits.masked_fill(found < 0, -torch.inf).numpy()

    def _read(self, histories: Histories) -> Histories:
        """The last items of each history, as many as the network reads."""
        return histories.tail(np.minimum(histories.lengths, self.asking.max_history))
