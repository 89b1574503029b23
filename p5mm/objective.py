"""What a training step minimises: retrieval at every prefix, and the tasks of the prompt file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.batches import Batch, scaled
from p5mm.losses import FULL, full_softmax, sampled_softmax
from p5mm.model import TEMPERATURE, Encoded, Network

SPREAD = 4  # hard negatives are drawn from SPREAD times as many of the retriever's best


@dataclass(frozen=True)
class View:
    """The items that a step computes, in numbers of its own.

    Attributes:
        tokens: Soft tokens ``[v, k, d]``.
        vectors: Unit retrieval vectors ``[v, d]``.
        batch: The batch, in the view's numbers.
        negatives: ``[m]`` shared negatives in the view's numbers; None is the whole catalog.
        items: Items that negatives are drawn from.
    """

    tokens: Tensor
    vectors: Tensor
    batch: Batch
    negatives: Tensor | None
    items: int

    def detached(self) -> "View":
        """The same view, without gradient to the items."""
        return replace(self, tokens=self.tokens.detach(), vectors=self.vectors.detach())


@dataclass(frozen=True)
class Task:
    """A family of prompts in tokens.

    Attributes:
        family: "sequential", "direct" or "rating".
        weight: Of its loss beside the retrieval loss.
        prompts: Token ids of the prompts that are trained with.
        answers: Token ids of the rating levels; empty for the other families.
    """

    family: str
    weight: float
    prompts: Sequence[Sequence[int]]
    answers: Sequence[int] = ()


@dataclass(frozen=True)
class Objective:
    """Weighs the losses of one step.

    Attributes:
        tasks: What is trained beside retrieval.
        negatives: Negatives shared by a batch; 0 is the softmax over the whole catalog.
        requests: Requests of a task in a step, spread over the histories.
        candidates: Candidates of a request, the target among them.
        levels: Values of the rating levels, ascending.
        rating_scale: Mean and spread of the ratings, for the history's tokens.
    """

    tasks: Sequence[Task]
    negatives: int
    requests: int
    candidates: int
    levels: Sequence[float] = ()
    rating_scale: tuple[float, float] = (0.0, 1.0)

    def __call__(self, network: Network, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of a batch: retrieval and one task, drawn anew each step; and its parts.

        Tasks train the decoder on what the retriever made, without gradient to it: the retriever
        is what it would be alone, and a step costs less.
        """
        view = self.view(network, scaled(batch, self.rating_scale))
        encoded = network.encode(view.tokens, view.batch)
        loss = self.retrieval(encoded, view)
        parts = {"retrieval": float(loss.detach())}
        if self.tasks:
            task = self.tasks[int(torch.randint(len(self.tasks), ()))]
            one = self.task(task, network, encoded.detached(), view.detached())
            if one is not None:
                loss = loss + task.weight * one
                parts[task.family] = float(one.detach())
        return loss, parts

    def view(self, network: Network, batch: Batch) -> View:
        """The trained items, or with shared negatives only those that the step needs.

        Items that were never taken are no negatives: their content must stay free to rank.
        """
        pool = network.items.trained_rows
        if not self.negatives or len(pool) <= FULL * self.negatives:
            return self._view(network, batch, pool, None, len(pool))
        drawn = pool[torch.randint(len(pool), (self.negatives,))]
        used = [batch.rows.flatten(), batch.targets[batch.targets >= 0], drawn]
        return self._view(network, batch, torch.unique(torch.cat(used)), drawn, len(pool))

    def _view(
        self, network: Network, batch: Batch, rows: Tensor, drawn: Tensor | None, items: int
    ) -> View:
        known = batch.targets >= 0
        targets = torch.searchsorted(rows, batch.targets.clamp(min=0)).masked_fill(~known, -1)
        local = torch.searchsorted(rows, batch.rows).clamp(max=len(rows) - 1)
        tokens = network.items(rows)
        return View(
            tokens,
            network.vectors(tokens),
            replace(batch, rows=local, targets=targets),
            None if drawn is None else torch.searchsorted(rows, drawn),
            items,
        )

    def retrieval(self, encoded: Encoded, view: View) -> Tensor:
        """Softmax over items at every prefix of every history."""
        real = view.batch.targets >= 0
        queries, targets = encoded.queries[real] / TEMPERATURE, view.batch.targets[real]
        if view.negatives is None:
            return full_softmax(queries, view.vectors, targets)
        hits = targets[:, None] == view.negatives
        log_q = math.log(len(view.negatives) / view.items)
        return sampled_softmax(
            queries, view.vectors[targets], view.vectors[view.negatives], hits, log_q
        )

    def task(self, task: Task, network: Network, encoded: Encoded, view: View) -> Tensor | None:
        """The loss of one family with one of its prompts; None where the batch has no example."""
        known = view.batch.targets >= 0
        if task.family == "rating":
            known = known & ~view.batch.target_ratings.isnan()
        if not known.any():
            return None
        positions, chosen = draw_positions(known, -(-self.requests // len(known)))
        prompt = task.prompts[int(torch.randint(len(task.prompts), ()))]
        seen = encoded.seen_until(positions)
        targets = view.batch.targets.gather(1, positions).clamp(min=0)
        if task.family == "rating":
            ratings = view.batch.target_ratings.gather(1, positions)
            slots = view.tokens[targets]
            logits = network.answer(encoded, seen, prompt, slots, task.answers)
            labels = nearest_level(ratings, self.levels)
        else:
            logits = self.choice(task, network, encoded, view, positions, targets, prompt)
            labels = torch.zeros_like(targets)
        return F.cross_entropy(logits[chosen], labels[chosen])

    def choice(
        self,
        task: Task,
        network: Network,
        encoded: Encoded,
        view: View,
        positions: Tensor,
        targets: Tensor,
        prompt: Sequence[int],
    ) -> Tensor:
        """Logits ``[b, m, candidates]`` of the target (first) among negatives.

        The reranker learns what it adds to the retriever: the retrieval logit takes part, without
        gradient, as it does when the two are combined for ranking.
        """
        rows = torch.arange(len(positions))[:, None]
        queries = encoded.queries[rows, positions]
        with torch.no_grad():
            logits = queries @ view.vectors.T / TEMPERATURE
            hidden = logits.scatter(2, targets[..., None], -torch.inf)
            read = torch.arange(view.batch.rows.shape[1]) < view.batch.lengths[:, None]
            own = torch.where(read[:, None], view.batch.rows[:, None], targets[..., None])
            hidden = hidden.scatter(2, own, -torch.inf)
            width = min(self.candidates - 1, hidden.shape[-1] - 1)
            if task.family == "sequential":
                pool = hidden.topk(min(SPREAD * width, hidden.shape[-1])).indices
                draw = torch.rand(pool.shape).topk(width).indices
                negatives = pool.gather(2, draw)
            else:
                negatives = torch.randint(hidden.shape[-1], (*targets.shape, width))
            candidates = torch.cat([targets[..., None], negatives], dim=-1)
            prior = logits.gather(2, candidates)
            blocked = hidden.gather(2, candidates).isinf()
            blocked[..., 0] = False
        tokens = F.embedding(candidates, view.tokens.mean(dim=1))
        ranked = network.rank(encoded, encoded.seen_until(positions), prompt, tokens)
        return (ranked + prior).masked_fill(blocked, -torch.inf)


def draw_positions(known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Up to ``count`` random places ``[b, m]`` where ``known`` is True, and which are real."""
    scores = torch.rand(known.shape).masked_fill(~known, -1.0)
    best = scores.topk(min(count, known.shape[1]))
    return best.indices, best.values >= 0


def nearest_level(ratings: Tensor, levels: Sequence[float]) -> Tensor:
    """The level that each rating is nearest to; NaN gives 0."""
    values = torch.tensor(list(levels))
    return (ratings.nan_to_num(levels[0])[..., None] - values).abs().argmin(dim=-1)
