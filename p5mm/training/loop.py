"""The training loop: every prefix of every history, early stopping, resume to the same result."""

import copy
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Protocol

import torch
from torch import Tensor, nn

from p5mm.config import Config, TrainConfig
from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.errors import InputError
from p5mm.model.batches import Batch
from p5mm.model.network import Network
from p5mm.model.prompts import Prompt
from p5mm.progress import Progress as Shown
from p5mm.progress import progress
from p5mm.share import Share
from p5mm.training.checkpoint import Checkpoint, Progress, optimizer_tensors, restore_optimizer
from p5mm.training.precision import autocast, chosen

AVERAGED_EPOCHS, AVERAGED_STEPS = 3, 500  # how far back the running average of weights reaches
CLIP = 5.0
FUSION_RATE = 0.3  # share of the learning rate

MATTERS = 0.002  # a share of the score: less is no reason to go on, or to prefer an earlier epoch

log = logging.getLogger(__name__)

Objective = Callable[[Network, Batch], tuple[Tensor, Mapping[str, float]]]
Validate = Callable[[Network], dict[str, float]]


class Batches(Protocol):
    """The batches of a training, pass by pass."""

    def __call__(self, number: int, /) -> Iterator[Batch]:
        """The batches of one pass, the same whenever they are asked for."""

    @property
    def steps(self) -> float:
        """Batches of a pass, about."""


class Training:
    """Trains a network; the running average of its weights is what ranks.

    Each step's randomness is a function of the seed and the step. A training that goes on keeps
    the number format that it began with, whatever this machine would choose today.

    Args:
        name: Of what is trained, for the progress.
        network: Trained in place; holds the best averaged weights at the end.
        parts: The modules of it that are trained, but for parameters that ask for no gradient; the
            others stay as they are.
        objective: Gives the loss of a batch.
        settings: How it is trained.
        batches: To learn from.
        validate: Gives ``score`` (higher is better; it decides when to stop) and other metrics.
        checkpoint: Where the state is kept after each epoch; None keeps nothing.
        falling: Whether the learning rate falls evenly from step to step, to nothing in the last
            epoch, which is then always reached; otherwise it stays, and the running average does
            what a falling rate would.
        share: Of each step, where several processes train together; the objective has the same.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        parts: Sequence[nn.Module],
        objective: Objective,
        settings: TrainConfig,
        batches: Batches,
        validate: Validate,
        checkpoint: Checkpoint | None = None,
        falling: bool = False,
        share: Share | None = None,
    ) -> None:
        self.name = name
        self.share = share or Share()
        network.load_state_dict(self.share.agreed(network.state_dict))
        self.falling = falling
        self.network = network
        self.parts = parts
        self.parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
        self.objective = objective
        self.settings = settings
        self.batches = batches
        self.validate = validate
        self.checkpoint = checkpoint
        self.optimizer = make_optimizer(network, self.parameters, settings)
        self.average = [p.detach().clone() for p in self.parameters]
        self.best = [p.clone() for p in self.average]
        precision = self.share.agreed(lambda: chosen(settings.precision))
        self.progress = Progress(precision=precision)
        self.reach = max(1.0, min(AVERAGED_EPOCHS * batches.steps, AVERAGED_STEPS))

    def run(self) -> list[dict[str, float]]:
        """Train until validation no longer improves; returns the log of the epochs."""
        self._resume()
        with progress(f"train the {self.name}", self.settings.epochs, "epoch") as shown:
            shown.begin_at(self.progress.epoch)
            while not self._done():
                self._epoch(shown)
                self._save()
                shown.update(1, told_epoch(self.progress))
        self._load(self.best)
        return self.progress.log

    def _done(self) -> bool:
        p = self.progress
        stale = p.epoch > 0 and p.epoch - p.mark_epoch >= self.settings.patience
        return p.epoch >= self.settings.epochs or (stale and not self.falling)

    def _epoch(self, shown: Shown) -> None:
        p, start, total, count = self.progress, time.perf_counter(), 0.0, 0
        self.network.eval()
        for part in self.parts:
            part.train()
        for step, batch in enumerate(self.batches(p.epoch)):
            torch.manual_seed(self.settings.seed * 1_000_003 + p.step)
            rate = self._rate(min(1.0, step / self.batches.steps))
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            self.optimizer.zero_grad()
            with autocast(p.precision):
                loss, parts = self.objective(self.network, batch)
            if not torch.isfinite(loss):
                raise InputError(
                    f"the training has diverged: the loss is {float(loss.detach())} in step "
                    f"{p.step + 1}; give a smaller train.learning_rate (now "
                    f"{self.settings.learning_rate:g}), or ratings of an ordinary size"
                )
            torch.autograd.backward(loss)
            parts = self.share.summed(self.parameters, parts)
            nn.utils.clip_grad_norm_(self.parameters, CLIP)
            self.optimizer.step()
            p.step += 1
            self._update_average()
            total, count = total + parts.get("loss", 0.0), count + ("loss" in parts)
            shown.tick(f"epoch {p.epoch + 1}, step {count:,}, loss {total / max(count, 1):.3f}")
        self._validate(total / max(count, 1), start)

    def _rate(self, done: float) -> float:
        """The learning rate when a share of the epoch is done."""
        p, settings = self.progress, self.settings
        rising = min(1.0, (p.step + 1) / settings.warmup)
        falling = 1 - (p.epoch + done) / settings.epochs if self.falling else 1.0
        return settings.learning_rate * rising * falling

    def _validate(self, loss: float, start: float) -> None:
        p = self.progress
        with self._averaged():
            metrics = self.share.agreed(lambda: self.validate(self.network))
        p.epoch += 1
        seconds = time.perf_counter() - start
        p.log.append({"epoch": p.epoch, "loss": loss, **metrics, "seconds": seconds})
        score = metrics["score"]
        # Where the rate has fallen further, the weights are better than a few cases can tell.
        slack = MATTERS * abs(p.best) if self.falling else 0.0
        if p.epoch == 1 or score > p.best - slack:
            p.best = score if p.epoch == 1 else max(score, p.best)
            p.best_epoch = p.epoch
            self.best = [a.clone() for a in self.average]
        if p.epoch == 1 or score > p.mark + MATTERS * abs(p.mark):
            p.mark, p.mark_epoch = score, p.epoch

    @torch.no_grad()
    def _update_average(self) -> None:
        # The first averages are short, or they would remember the random start.
        share = max(1.0 / self.reach, 9.0 / (10 + self.progress.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], share)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network with its averaged weights, in evaluation mode."""
        trained = [p.detach().clone() for p in self.parameters]
        self._load(self.average)
        self.network.eval()
        try:
            yield
        finally:
            self._load(trained)

    @torch.no_grad()
    def _load(self, weights: list[Tensor]) -> None:
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.copy_(weight)

    def _save(self) -> None:
        if self.checkpoint is not None and self.share.first:
            self.checkpoint.save(self.progress, self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        weights = {f"weight.{i}": p.detach() for i, p in enumerate(self.parameters)}
        averages = {f"average.{i}": a for i, a in enumerate(self.average)}
        best = {f"best.{i}": b for i, b in enumerate(self.best)}
        return weights | averages | best | optimizer_tensors(self.optimizer)

    def _resume(self) -> None:
        if self.checkpoint is None:
            return
        checkpoint = self.checkpoint
        kept = self.share.agreed(lambda: checkpoint.load(self._tensors(), self.optimizer))
        if kept is None:
            return
        self.progress, tensors = kept
        numbers = range(len(self.average))
        self._load([tensors[f"weight.{i}"] for i in numbers])
        self.average = [tensors[f"average.{i}"] for i in numbers]
        self.best = [tensors[f"best.{i}"] for i in numbers]
        restore_optimizer(self.optimizer, tensors)
        log.info("resuming after epoch %d", self.progress.epoch)


def told_epoch(p: Progress) -> str:
    """The last epoch in a few words."""
    epoch = p.log[-1]
    metrics = [f"{name} {epoch[name]:.4f}" for name in ("ndcg@10", "recall@10") if name in epoch]
    told = metrics or [f"validation loss {-epoch['score']:.4f}"]
    return ", ".join([*told, f"loss {epoch['loss']:.3f}", f"best epoch {p.best_epoch}"])


def make_optimizer(
    network: Network, parameters: Sequence[nn.Parameter], settings: TrainConfig
) -> torch.optim.Optimizer:
    """AdamW; norms, biases and single vectors are not decayed; the fusion learns more slowly.

    An id residual is one item's own, a fusion weight is shared by all items: at the same rate one
    step turns every content vector much further than any id.
    """
    fusion = network.items.fusion
    slow = {id(p) for p in fusion.parameters()} if fusion is not None else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        share = FUSION_RATE if id(parameter) in slow else 1.0
        groups.setdefault((decay, share), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "weight_decay": d, "share": s} for (d, s), p in groups.items()],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )


def training_key(
    config: Config,
    learned: Sequence[Histories],
    cases: Cases,
    fingerprints: dict[str, str],
    prompts: Sequence[Prompt],
) -> str:
    """What must agree for a training to be resumed: settings, data and encoders.

    Args:
        config: Settings.
        learned: Histories that its parts learn from.
        cases: Validation cases.
        fingerprints: Of the encoders, by modality, and of the base.
        prompts: That the tasks are trained with.
    """
    settings = copy.deepcopy(asdict(config))
    for named in ("data", "encoders"):  # by what they give, below
        settings[named] = None
    asked = [asdict(prompt) for prompt in prompts]
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([settings, fingerprints, asked], sort_keys=True).encode())
    for histories in (*learned, cases.histories):
        digest.update(histories.items.tobytes())
        digest.update(histories.offsets.tobytes())
        digest.update(b"" if histories.ratings is None else histories.ratings.tobytes())
    digest.update(cases.targets.tobytes())
    return digest.hexdigest()
