"""What a training leaves behind, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from p5mm.config import Config
from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.split import Split, split_log
from p5mm.data.users import Users
from p5mm.evidence.cold_items import ColdItems
from p5mm.evidence.counts import Counts
from p5mm.evidence.relations import Relations
from p5mm.evidence.similarity import ItemSimilarity
from p5mm.model.content import Content
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt
from p5mm.model.questions import Question, questions
from p5mm.ranking.candidates import Candidates, candidate_index
from p5mm.ranking.first_day import FirstDay
from p5mm.ranking.fitted import Fitted
from p5mm.ranking.generator import Generator
from p5mm.ranking.scorer import Asking, Scorer
from p5mm.ranking.shortlist import Shortlist
from p5mm.retrieval.index import VectorIndex


@dataclass(frozen=True)
class TrainedModel(Users):
    """A trained model; ``training.fit`` gives one, ``serving.Recommender`` puts it to work.

    Attributes:
        config: Everything that the training depended on.
        catalog: All items that can be recommended.
        log: Every interaction at the time of the training.
        content: Vectors of the catalog's items.
        network: Trained.
        tokenizer: Of the prompts.
        prompts: That the tasks were trained with, and those held out.
        counts: What the training histories say of pairs of items.
        fitted: What training found besides the weights.
        saved_index: The candidates' index as it was saved; made anew where None.
        origin: The folder that it was read from; None where it was trained here.
        later: The interactions that have come since; of histories, and of what is seen.
        deleted: Ids of items that are served no more; histories may hold them.
        added: How many items, the last of the catalog, the training did not have.
    """

    config: Config
    catalog: Catalog
    log: Interactions
    content: Content
    network: Network
    tokenizer: Tokenizer
    prompts: tuple[Prompt, ...]
    counts: Counts
    fitted: Fitted
    saved_index: VectorIndex | None = None
    origin: str | None = None
    later: Interactions = field(default_factory=Interactions.empty)
    deleted: frozenset[str] = frozenset()
    added: int = 0

    @cached_property
    def taken(self) -> Interactions:
        """All that users took: the log of the training, and what has come since."""
        return self.log.joined(self.later) if len(self.later) else self.log

    @cached_property
    def as_trained(self) -> "TrainedModel":
        """The model without deletions and later interactions: what an evaluation is of."""
        if not self.deleted and not len(self.later):
            return self
        return replace(self, deleted=frozenset(), later=Interactions.empty())

    @cached_property
    def core(self) -> Interactions:
        """The part of the log that was learned from."""
        return self.log.known(self.catalog.item_ids).core(self.config.data.k_core)

    @property
    def split(self) -> Split:
        """The split of what was learned from, in the numbers of ``fitted.items``."""
        return self._learned[1]

    @property
    def split_users(self) -> list[str]:
        """Ids of the users of ``split``, in the order of their rows."""
        return self._learned[0]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """``[items]`` catalog rows of ``fitted.items``."""
        return np.array([self.catalog.rows[item] for item in self.fitted.items], dtype=np.int64)

    @property
    def has_likeness(self) -> bool:
        """Whether likeness of content ranks beside what the network has learned."""
        return self.fitted.likeness or not self.config.train.epochs

    @cached_property
    def without_likeness(self) -> "TrainedModel":
        """The model by what it has learned alone."""
        if not self.fitted.likeness:
            return self
        return replace(self, fitted=replace(self.fitted, likeness=False), saved_index=None)

    @cached_property
    def scorer(self) -> Scorer:
        """Retriever and reranker with item vectors made once; finds no deleted item."""
        gone = np.array([item in self.deleted for item in self.catalog.item_ids], np.bool_)
        return self._scorer.without(gone)

    @property
    def _scorer(self) -> Scorer:
        asked = asking(self.config, self.fitted.prompt, self.fitted.rating_scale)
        if self.has_likeness:
            known = self.content, self.catalog
            return FirstDay.beginning(self.network, asked, *known, self.saved_index)
        cold = ColdItems.of(self.network.items, self.config.cold)
        retriever = Scorer.of(
            self.network,
            asked,
            cold,
            self.catalog.item_ids,
            self.saved_index,
            Generator.of(self.network) if self.config.retrieval.generate else None,
        ).handicapped(self.fitted.handicap, self.fitted.lift)
        return evidenced(retriever, self.config, cold, self.counts, self.content).weighing(
            self.fitted.weights
        )

    @cached_property
    def index(self) -> VectorIndex:
        """What near items are found in: made when asked for where candidates are generated."""
        found = self.scorer.candidates
        if isinstance(found, Candidates):
            return found.index
        kind, ids = self.config.retrieval.index, self.catalog.item_ids
        return candidate_index(self.network, self.scorer.vectors, ids, kind)

    @cached_property
    def offered_index(self) -> VectorIndex:
        """The part of ``index`` that is not deleted."""
        if not self.deleted:
            return self.index
        ids = self.index.item_ids
        return self.index.among(np.flatnonzero([item not in self.deleted for item in ids]))

    def questions(self, family: str) -> list[Question]:
        """The ways to ask for a task: its seen prompts, then the held-out ones.

        Raises:
            InputError: The family has no seen prompt, or no held-out one.
        """
        soft_tokens = self.config.model.soft_tokens
        return questions(self.tokenizer, self.prompts, family, soft_tokens)

    @property
    def training_log(self) -> list[dict[str, float]]:
        """One entry an epoch: epoch, loss, ndcg@10, recall@10, seconds."""
        return self.fitted.log

    @cached_property
    def _learned(self) -> tuple[list[str], Split]:
        return split_log(self.core, self.fitted.items, self.config.data.split)


def evidenced(
    retriever: Scorer, config: Config, cold: ColdItems, counts: Counts, content: Content
) -> Scorer:
    """A retriever with everything at hand that a reranker may weigh.

    Args:
        retriever: Of the catalog.
        config: Settings.
        cold: What stands in for items that nobody has taken.
        counts: Of the log that the retriever was trained on.
        content: Vectors of the catalog's items.
    """
    settings, vectors = config.similarity, content.tensors()[0]
    counts = counts.introducing(cold, settings.neighbours)
    similarity = ItemSimilarity.of(counts.together, vectors, settings.decay)
    scale = retriever.asking.rating_scale
    relations = Relations.of(counts, vectors, retriever.vectors, config.model.relations, scale)
    return replace(retriever, similarity=similarity, relations=relations)


def asking(config: Config, prompt: Sequence[int], rating_scale: tuple[float, float]) -> Asking:
    """How a configuration asks its network."""
    length, retrieval = config.model.max_history, config.retrieval
    read = Shortlist(retrieval.shortlist, config.cold.shortlist)
    new, kind = config.cold.candidates, retrieval.index
    return Asking(prompt, length, retrieval.candidates, read, new, kind, rating_scale)
