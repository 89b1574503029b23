"""What the decoder's steps minimise: one family of the prompt file each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from p5mm.config import Config
from p5mm.errors import unknown
from p5mm.model.batches import Batch, scaled
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt, choose
from p5mm.model.tokenizer import level_tokens, prompt_tokens
from p5mm.ranking.headlines import REVIEW
from p5mm.share import Share
from p5mm.training.code_objective import CodeObjective
from p5mm.training.headline_objective import HeadlineObjective
from p5mm.training.ranking_cases import RankingCases
from p5mm.training.retrieval_objective import Losses

TRAINED_FAMILIES = ("sequential", "direct", "rating", "codes", REVIEW)
CODES_WEIGHT = 1.0  # beside the others' .5: a code has several digits to learn
RANKING = ("sequential", "direct")  # families that ask for a choice among candidates
TOGETHER = 256  # validation cases in memory at once
WIDTH = 48  # candidates of a request in a step: a third of the time of all, and no worse


@dataclass(frozen=True)
class Task:
    """A family of prompts in tokens.

    Attributes:
        family: "sequential", "direct", "rating", "codes" or "review".
        weight: How often it is drawn for a step, beside the other tasks.
        prompts: Token ids of the prompts that are trained with.
        answers: Token ids of the rating levels; empty for the other families.
    """

    family: str
    weight: float
    prompts: Sequence[Sequence[int]]
    answers: Sequence[int] = ()


@dataclass(frozen=True)
class TaskObjective:
    """The decoder's loss: one family of prompts a step; the retriever gets no gradient.

    Two families rank the candidates of requests whose answers their retriever has not seen; the
    others ask at prefixes of the training histories, on the trained retriever's states. One of
    them, review, has answers in words.

    Attributes:
        tasks: Drawn in proportion to their weights.
        requests: Requests of a step.
        cases: What ranking is learned from; None where it is not.
        held_out: What tells how well it is learned; None where it is not.
        tokens: Soft tokens ``[t, k, d]`` of the trained items.
        places: ``[n]`` int64 place of each catalog row among the trained items.
        levels: Values of the rating levels, ascending.
        rating_scale: Mean and spread of the ratings, for the history's tokens.
        codes: The loss of codes; None where they are no task.
        share: Of each step's requests that is computed here; validation is always whole.
        headlines: What is learned of reviews, and what tells how well; None where they are no task.
    """

    tasks: Sequence[Task]
    requests: int
    cases: RankingCases | None
    held_out: RankingCases | None
    tokens: Tensor
    places: Tensor
    levels: Sequence[float] = ()
    rating_scale: tuple[float, float] = (0.0, 1.0)
    codes: CodeObjective | None = None
    share: Share = field(default_factory=Share)
    headlines: tuple[HeadlineObjective, HeadlineObjective] | None = None

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        network: Network,
        tasks: Sequence[Task],
        requests: int,
        cases: RankingCases | None = None,
        held_out: RankingCases | None = None,
        levels: Sequence[float] = (),
        rating_scale: tuple[float, float] = (0.0, 1.0),
        share: Share | None = None,
        headlines: tuple[HeadlineObjective, HeadlineObjective] | None = None,
    ) -> "TaskObjective":
        """Make the tokens of the trained items once."""
        network.eval()
        rows = network.items.trained_rows
        tokens = network.items(rows)
        places = torch.zeros(len(network.items), dtype=torch.int64)
        places[rows] = torch.arange(len(rows))
        coded = any(task.family == "codes" for task in tasks)
        codes = CodeObjective.of(network) if coded else None
        return cls(
            tasks, requests, cases, held_out, tokens, places, levels, rating_scale, codes,
            share or Share(),
            headlines,
        )  # fmt: skip

    def __call__(self, network: Network, batch: Batch) -> Losses:
        """The loss of one task, drawn anew each step."""
        weights = torch.tensor([task.weight for task in self.tasks])
        task = self.tasks[int(torch.multinomial(weights, 1))]
        if task.family in RANKING:
            loss = self.ranking(task, network)
        elif task.family == REVIEW:
            loss = self.review(task, network)
        else:
            loss = self.loss(task, network, batch, share=self.share)
        if loss is None:
            return torch.zeros((), requires_grad=True), {}
        return loss, {"loss": float(loss.detach()), task.family: float(loss.detach())}

    @torch.no_grad()
    def validate(self, network: Network, batches: Sequence[Batch]) -> dict[str, float]:
        """Mean loss of each family, and ``score``: minus their weighted mean; the same draws."""
        losses: dict[str, list[float]] = {task.family: [] for task in self.tasks}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for task in self.tasks:
                if task.family in RANKING:
                    losses[task.family] = self._held_out_ranking(task, network)
                elif task.family == REVIEW:
                    losses[task.family] = self._held_out_reviews(task, network)
            for batch in batches:
                for task in self.tasks:
                    if task.family not in (*RANKING, REVIEW):
                        loss = self.loss(task, network, batch, held_out=True)
                        if loss is not None:
                            losses[task.family].append(float(loss))
        means = {family: sum(v) / len(v) for family, v in losses.items() if v}
        weights = {task.family: task.weight for task in self.tasks if task.family in means}
        total = sum(weights.values()) or 1.0
        score = -sum(means[family] * weight for family, weight in weights.items()) / total
        return {"score": score, **means}

    def ranking(self, task: Task, network: Network) -> Tensor | None:
        """The listwise loss of some cases, drawn anew; None where there is none."""
        if self.cases is None or not len(self.cases):
            return None
        drawn = self.cases.drawn(self.requests, WIDTH)
        prompt = task.prompts[int(torch.randint(len(task.prompts), ()))]
        mine = self.share.rows(len(drawn))
        if not len(mine):
            return torch.zeros((), requires_grad=True)
        self.share.part_ways()
        return ranking_loss(network, prompt, drawn.take(mine)) * (len(mine) / len(drawn))

    def review(self, task: Task, network: Network) -> Tensor | None:
        """The loss of some headlines, drawn anew; None where there is none."""
        if self.headlines is None or not len(self.headlines[0]):
            return None
        prompt = task.prompts[int(torch.randint(len(task.prompts), ()))]
        learned = self.headlines[0]
        return learned.step(network, self.tokens, self.places, prompt, self.requests, self.share)

    def _held_out_reviews(self, task: Task, network: Network) -> list[float]:
        """The mean loss of a word of the held-out headlines; none without any."""
        if self.headlines is None:
            return []
        mean = self.headlines[1].mean(network, self.tokens, self.places, task.prompts[0])
        return [] if mean is None else [mean]

    def _held_out_ranking(self, task: Task, network: Network) -> list[float]:
        """The mean loss of the held-out cases, asked by the first prompt; none without cases."""
        cases = self.held_out
        if cases is None or not len(cases):
            return []
        parts = [cases.take(rows) for rows in torch.arange(len(cases)).split(TOGETHER)]  # type: ignore[no-untyped-call]
        total = sum(float(ranking_loss(network, task.prompts[0], p)) * len(p) for p in parts)
        return [total / len(cases)]

    def loss(
        self,
        task: Task,
        network: Network,
        batch: Batch,
        held_out: bool = False,
        share: Share | None = None,
    ) -> Tensor | None:
        """The loss of one family with one of its prompts; None where the batch has no example.

        Args:
            task: The family.
            network: Reads and answers.
            batch: Histories in catalog rows.
            held_out: The targets are not among the training ratings.
            share: Of the examples whose part of the mean is wanted; all where None.
        """
        # A held-out target may be an item that no training history has: there is no token for it.
        known = (batch.targets >= 0) & network.items.trained[batch.targets.clamp(min=0)]
        if task.family == "rating":
            known = known & ~batch.target_ratings.isnan()
        chosen = torch.nonzero(known.any(1)).flatten()
        if not len(chosen):
            return None
        chosen = chosen[torch.randperm(len(chosen))[: self.requests]]
        batch, known = scaled(batch.take(chosen), self.rating_scale), known[chosen]
        positions, real = draw_positions(known, -(-self.requests // len(known)))
        prompt = task.prompts[int(torch.randint(len(task.prompts), ()))]
        share, whole = share or Share(), int(real.sum())
        mine = share.rows(len(known))
        batch, positions, real = batch.take(mine), positions[mine], real[mine]
        weight = int(real.sum()) / whole
        if not weight:
            return torch.zeros((), requires_grad=True)
        share.part_ways()
        placed = replace(
            batch,
            rows=self.places[batch.rows],
            targets=torch.where(batch.targets < 0, -1, self.places[batch.targets.clamp(min=0)]),
        )
        with torch.no_grad():
            encoded = network.encode(self.tokens, placed)
        targets = placed.targets.gather(1, positions).clamp(min=0)
        if self.codes is not None and task.family == "codes":
            wanted = batch.targets.gather(1, positions)
            wanted = torch.where(real, wanted, network.items.trained_rows[0])
            loss = self.codes(network, encoded, positions, wanted, prompt)
            return weight * loss[real].mean()
        seen = encoded.seen_until(positions)
        logits = network.answer(encoded, seen, prompt, self.tokens[targets], task.answers)
        logits = logits + self.prior(network, batch, positions, held_out)
        labels = nearest_level(batch.target_ratings.gather(1, positions), self.levels)
        return weight * F.cross_entropy(logits[real], labels[real])

    def prior(
        self, network: Network, batch: Batch, positions: Tensor, held_out: bool
    ) -> Tensor | float:
        """What biases alone say of the targets' ratings; 0 where the network has no prior."""
        if network.rating_prior is None:
            return 0.0
        targets = batch.targets.gather(1, positions).clamp(min=0)
        mean, spread = self.rating_scale
        own = (batch.target_ratings.gather(1, positions) - mean) / spread
        logits: Tensor = network.rating_prior(batch, positions, targets, None if held_out else own)
        return logits


def ranking_loss(network: Network, prompt: Sequence[int], cases: RankingCases) -> Tensor:
    """Softmax over the candidates of a request; the retriever's logit is an offset."""
    logits = network.rerank(prompt, cases.facts, cases.relations, cases.lengths)
    return F.cross_entropy(logits + cases.logits, cases.targets)


def draw_positions(known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Up to ``count`` random places ``[b, m]`` where ``known`` is True, and which are real."""
    scores = torch.rand(known.shape).masked_fill(~known, -1.0)
    best = scores.topk(min(count, known.shape[1]))
    return best.indices, best.values >= 0


def nearest_level(ratings: Tensor, levels: Sequence[float]) -> Tensor:
    """The level that each rating is nearest to; NaN gives 0."""
    values = torch.tensor(list(levels))
    return (ratings.nan_to_num(levels[0])[..., None] - values).abs().argmin(dim=-1)


def make_tasks(
    config: Config, prompts: Sequence[Prompt], tokenizer: Tokenizer, levels: Sequence[float]
) -> list[Task]:
    """The families that the config trains, in tokens; rating is left out where nobody rates.

    Raises:
        InputError: A family is unknown, or cannot be trained yet.
    """
    tasks = []
    for family, weight in _wanted(config).items():
        if family not in TRAINED_FAMILIES:
            raise unknown("task in train.tasks", family, TRAINED_FAMILIES)
        if weight <= 0 or (family == "rating" and len(levels) < 2):
            continue
        asked = [
            prompt_tokens(tokenizer, prompt, config.model.soft_tokens)
            # What comes next may be answered in a code as well.
            for prompt in choose(prompts, "sequential" if family == "codes" else family)
        ]
        answers = level_tokens(tokenizer, len(levels)) if family == "rating" else ()
        tasks.append(Task(family, weight, asked, answers))
    return tasks


def _wanted(config: Config) -> dict[str, float]:
    """The weight of each family; codes are learned wherever they are generated."""
    tasks = dict(config.train.tasks)
    if config.retrieval.generate and not tasks.get("codes"):
        tasks["codes"] = CODES_WEIGHT
    return tasks
