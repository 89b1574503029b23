"""The steps of a training, one after the other."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from p5mm.config import Config, TrainConfig
from p5mm.data.split import Cases
from p5mm.errors import counted
from p5mm.evidence.cold_items import ColdItems
from p5mm.evidence.counts import Counts
from p5mm.metrics.validation import validation_metrics
from p5mm.model.batches import Batch, Passes, last_batches
from p5mm.model.content import Content
from p5mm.model.item_codes import ItemCodes
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt
from p5mm.ranking.generator import Generator
from p5mm.ranking.scorer import DECODER, Scorer
from p5mm.ranking.trained_model import asking, evidenced
from p5mm.share import Share
from p5mm.training.beginning import Beginning, adapted
from p5mm.training.calibration import fit_newcomers, fit_weights
from p5mm.training.checkpoint import Checkpoint
from p5mm.training.code_objective import fit_item_codes
from p5mm.training.headline_objective import Headlines, headline_objectives
from p5mm.training.loop import Objective, Training, Validate
from p5mm.training.ranking_cases import (
    FOLDS,
    MOST,
    RankingCases,
    amid_new,
    held_back,
    hidden_items,
    unaware,
)
from p5mm.training.retrieval_objective import RetrievalObjective
from p5mm.training.task_objective import RANKING, Task, TaskObjective
from p5mm.training.training_data import TrainingData

TASK_CASES = 2_000  # validation cases that decide when the decoder is trained
MEASURED = 1_000  # cases that tell the units of what the decoder reads

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitting:
    """The steps of a training, one after the other.

    Attributes:
        config: Settings.
        network: Trained in place.
        data: What is learned from.
        content: Vectors of the catalog's items.
        beginning: Where its weights came from.
        checkpoint: Folder in which an interrupted training goes on; None keeps nothing.
        key: What the training depends on.
        share: Of each step that this process computes.
    """

    config: Config
    network: Network
    data: TrainingData
    content: Content
    beginning: Beginning = field(default_factory=Beginning)
    checkpoint: Path | None = None
    key: str = ""
    share: Share = field(default_factory=Share)

    @cached_property
    def cold_items(self) -> ColdItems:
        """What stands in for items that were never taken; depends on their content alone."""
        return ColdItems.of(self.network.items, self.config.cold)

    @cached_property
    def counts(self) -> Counts:
        """What is learned from says of pairs of items."""
        kept = self.config.similarity.neighbours
        return Counts.of(self.data.learned, self.content.items, kept)

    def announced(self) -> str:
        """What will be trained on what, and what it will cost."""
        train, settings, content = self.data.train, self.config.train, self.content
        weights = sum(parameter.numel() for parameter in self.network.parameters())
        known = ", ".join(f"{name} of {int(p.sum()):,}" for name, p in content.present.items())
        if not settings.epochs:
            return f"first day: {counted(content.items, 'item')} ({known}); nothing is trained"
        return (
            f"train: {counted(len(train), 'history', 'histories')}, "
            f"{counted(len(train.items), 'target')}; "
            f"{int(self.network.items.trained.sum()):,} of {counted(content.items, 'item')} seen "
            f"(content: {known or 'none'}); {weights / 1e6:.2f} M weights; about "
            f"{counted(len(train.items) // settings.positions + 1, 'step')} an epoch, at most "
            f"{counted(settings.epochs, 'epoch')}, each validated by "
            f"{counted(len(self.data.split.cases('valid')), 'user')}; "
            f"twice where ranking is learned: the first time without what is held back for it"
        )

    def rehearse(self, prompts: tuple[Prompt, ...]) -> RankingCases:
        """What the reranker learns from: targets that a retriever like the final one has not seen.

        The last items of each training history are held back. A retriever is trained without
        them, pairs of items are counted without them, and its candidates for each of them are
        taken. It is thrown away afterwards: nothing of a decoder that reads relations alone
        depends on one retriever's vectors.

        Args:
            prompts: That the tasks are trained with; a T5 from scratch has their vocabulary.
        """
        learned, cases = held_back(self.data.train)
        data = replace(self.data, learned=learned)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.train.seed)
            t5, _ = self.beginning.t5(self.config.model, prompts)
            network = self.beginning.network(self.config.model, self.content, data.trained, t5)
        rehearsal = replace(self, network=network, data=data)
        rehearsal.retriever("rehearsal")
        rows = np.unique(learned.items)
        made = RankingCases.of(rehearsal.evidenced(()).within(rows), cases)
        told = len(made), min(len(cases), MOST)
        log.info("reranker: the candidates hold %d of %d held-back items", *told)
        return rehearsal.with_hidden(made, cases, rows) if len(made) else made

    def with_hidden(
        self, made: RankingCases, cases: Cases, rows: NDArray[np.int64]
    ) -> RankingCases:
        """The cases made, and others among whose candidates are items hidden as if they were new.

        Args:
            made: Without hidden items.
            cases: That are asked again.
            rows: Catalog rows of the items that may be candidates.
        """
        items, parts, most = self.network.items, [made], max(1, len(made) // FOLDS)
        there = items.present.any(dim=1)[torch.from_numpy(rows)].numpy()
        for hidden in hidden_items(torch.from_numpy(rows[there]), self.config.train.seed):
            gone = np.isin(np.arange(len(items)), hidden.numpy())
            asked = amid_new(cases, gone)
            if len(asked):
                with self.hiding(hidden, (), alone=True) as scorer:
                    read, seen = unaware(asked, gone), asked.histories
                    parts.append(RankingCases.of(scorer.within(rows), read, most, seen))
        joined = RankingCases.joined(parts)
        log.info("reranker: %d cases more with some items hidden", len(joined) - len(made))
        return joined

    def retriever(self, name: str = "retriever") -> list[dict[str, float]]:
        """Train items and encoder by validation NDCG@10; returns the log of the epochs."""
        cases = self.data.split.cases("valid")

        def validate(network: Network) -> dict[str, float]:
            metrics = validation_metrics(self.scorer(()).among(self.data.rows), cases)
            return {"score": metrics["ndcg@10"], **metrics}

        network = self.network
        parts = [network.items, network.history, network.t5.encoder]
        settings = self.config.train
        objective = RetrievalObjective(settings.negatives, self.data.rating_scale, self.share)
        with adapted(network.t5.encoder, settings.adapt):
            return self._training(name, parts, objective, settings, validate).run()

    def tasks(
        self,
        tasks: Sequence[Task],
        asked: Sequence[int],
        cases: RankingCases | None,
        tokenizer: Tokenizer,
        told: tuple[Headlines, Headlines] | None = None,
    ) -> list[dict[str, float]]:
        """Train the decoder by validation loss; returns the log.

        Args:
            tasks: What it learns.
            asked: Token ids of the prompt that ranking is asked by.
            cases: What ranking is learned from; None where it is not.
            tokenizer: Of the T5.
            told: Headlines of training and validation; None where they are not learned.
        """
        settings, network = self.config.train, self.network
        held_out = None
        if cases is not None:
            scorer = self.evidenced(asked).within(self._taken)
            held_out = RankingCases.of(scorer, self._valid, TASK_CASES)
            if len(cases):
                seen = cases.take(torch.arange(0, len(cases), -(-len(cases) // MEASURED)))
                real = seen.logits > -torch.inf
                network.reader.measure(seen.relations[real], seen.facts[real])
        if any(task.family == "codes" for task in tasks):
            network.codes = self.codes()
        scale, headlines = self.data.rating_scale, None
        if told is not None:
            length, trained = self.config.model.max_history, network.items.trained
            headlines = headline_objectives(told, trained, tokenizer, length, scale)
        objective = TaskObjective.of(
            network,
            tasks,
            settings.rank_requests,
            cases,
            held_out,
            self.data.levels,
            scale,
            self.share,
            headlines,
        )
        batches = self._held_out()
        parts = [network.t5.shared, network.t5.decoder, network.rank_head, network.reader]
        if network.codes is not None:
            parts.append(network.codes)
        if not network.t5.config.tie_word_embeddings:
            parts.append(network.t5.lm_head)
        if network.rating_prior is not None:
            parts.append(network.rating_prior)
        settings = replace(settings, epochs=min(settings.epochs, settings.task_epochs))

        def validate(network: Network) -> dict[str, float]:
            return objective.validate(network, batches)

        return self._training("decoder", parts, objective, settings, validate, falling=True).run()

    def codes(self) -> ItemCodes:
        """Codes of all items of which something is known, fitted on those that were taken."""
        network, retrieval = self.network.eval(), self.config.retrieval
        with torch.no_grad():
            vectors = network.vectors(self.cold_items.adopt(network.items()))
        known, taken = network.items.known, network.items.trained
        return fit_item_codes(
            vectors, known, taken, self.data.item_ids,
            (retrieval.code_levels, retrieval.code_size), self.config.train.seed,
        )  # fmt: skip

    def scorer(self, asked: Sequence[int], cold: ColdItems | None = None) -> Scorer:
        """The network as it is now, as a retriever.

        Args:
            asked: Token ids of the prompt that the decoder reads.
            cold: What stands in for new items; made anew where items are hidden.
        """
        how = asking(self.config, asked, self.data.rating_scale)
        generates = self.config.retrieval.generate and self.network.codes is not None
        generator = Generator.of(self.network) if generates else None
        cold = cold or self.cold_items
        return Scorer.of(self.network, how, cold, self.data.item_ids, generator=generator)

    def evidenced(self, asked: Sequence[int]) -> Scorer:
        """The network as it is now, with everything at hand that a reranker may weigh."""
        scorer = self.scorer(asked)
        return evidenced(scorer, self.config, self.cold_items, self.counts, self.content)

    @contextmanager
    def hiding(self, rows: Tensor, asked: Sequence[int], alone: bool = False) -> Iterator[Scorer]:
        """What ``evidenced`` gives if nobody had taken some items; it holds as long as the context.

        Args:
            rows: ``[m]`` int64, where they are.
            asked: Token ids of the prompt that the decoder reads.
            alone: The catalog's own new items are not asked for.
        """
        with self.network.items.hiding(rows):
            cold = ColdItems.of(self.network.items, self.config.cold, rows if alone else None)
            counts, scorer = self.counts.without(rows.numpy()), self.scorer(asked, cold)
            yield evidenced(scorer, self.config, cold, counts, self.content)

    def calibrate(
        self, asked: Sequence[int], tasks: Sequence[Task]
    ) -> tuple[dict[str, float], dict[str, float], dict[str, float], tuple[float, float]]:
        """What `fit_weights` finds, and the handicap and the lift of new items.

        Args:
            asked: Token ids of the prompt that the decoder reads.
            tasks: That the decoder was trained on.
        """
        scorer = self.evidenced(asked).within(self._taken)
        decoder = [DECODER] if reranks(tasks) else []
        weights, similarities, tried = fit_weights(scorer, decoder, self._valid)
        return weights, similarities, tried, self._newcomers(asked, weights)

    def _newcomers(self, asked: Sequence[int], weights: Mapping[str, float]) -> tuple[float, float]:
        """What `fit_newcomers` finds with the catalog's new items; with few, some are hidden."""
        items, cases = self.network.items, self._valid
        new = int((items.known & ~items.trained).sum())
        taken = torch.nonzero(items.trained & items.present.any(dim=1)).flatten()
        folds = hidden_items(taken, self.config.train.seed)
        hidden = folds[0][: max(0, len(folds[0]) - new)] if folds else taken[:0]
        with self.hiding(hidden, asked) as scorer:
            cases = cases.take(np.flatnonzero(items.trained.numpy()[cases.targets]))
            gone = np.isin(np.arange(len(items)), hidden.numpy())
            read, seen = unaware(cases, gone), cases.histories
            return fit_newcomers(scorer.weighing(weights), read, seen)

    @property
    def _valid(self) -> Cases:
        """Validation cases in catalog rows."""
        return self.data.split.cases("valid").in_rows(self.data.rows)

    @property
    def _taken(self) -> NDArray[np.int64]:
        """Rows of the items that the retriever has learned; how new ones compete comes last."""
        return self.network.items.trained_rows.numpy()

    def _held_out(self) -> list[Batch]:
        """Validation targets of some users, for the loss that decides when the decoder is done."""
        held_out = self.data.split.answered("valid")
        chosen = np.linspace(0, len(held_out) - 1, TASK_CASES).astype(np.int64)
        held_out = held_out.select(np.unique(chosen))
        held_out = replace(held_out, items=self.data.rows[held_out.items])
        size = self.config.train.rank_requests
        return list(last_batches(held_out, self.config.model.max_history, size))

    def _training(
        self,
        name: str,
        parts: Sequence[nn.Module],
        objective: Objective,
        settings: TrainConfig,
        validate: Validate,
        falling: bool = False,
    ) -> Training:
        kept = None if self.checkpoint is None else Checkpoint(self.checkpoint / name, self.key)
        length = self.config.model.max_history
        passes = Passes(self.data.learned, length, settings.positions, settings.seed)
        return Training(
            name, self.network, parts, objective, settings, passes, validate, kept, falling,
            self.share,
        )  # fmt: skip


def reranks(tasks: Sequence[Task]) -> bool:
    """Whether the decoder learns to rank candidates."""
    return any(task.family in RANKING for task in tasks)
