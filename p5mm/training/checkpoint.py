"""A training's state on disk: written whole or not at all, read back to the same numbers."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from p5mm.errors import InputError


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epoch: Epochs finished.
        step: Steps finished.
        best: Best validation score so far.
        best_epoch: The epoch of the best.
        mark: The last best that was a gain that matters: what patience waits from.
        mark_epoch: Its epoch.
        precision: Number format of the steps, chosen at the first: fp32 or bf16.
        log: One entry an epoch: epoch, loss, score and other metrics, seconds.
    """

    epoch: int = 0
    step: int = 0
    best: float = 0.0
    best_epoch: int = 0
    mark: float = 0.0
    mark_epoch: int = 0
    precision: str = "fp32"
    log: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with the state of one training, recognised by its key."""

    folder: Path
    key: str

    def save(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        """Write a new state beside the old one, then switch to it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{progress.epoch}.safetensors"
        part = self.folder / f"{name}.part"
        save_file({n: t.detach().contiguous() for n, t in tensors.items()}, part)
        os.replace(part, self.folder / name)
        state = {"key": self.key, "tensors": name, "progress": asdict(progress)}
        part = self.folder / "state.json.part"
        part.write_text(json.dumps(state))
        os.replace(part, self.folder / "state.json")
        for old in self.folder.glob("epoch-*.safetensors*"):
            if old.name != name:
                old.unlink()

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """The state, or None where there is none yet.

        Raises:
            InputError: The folder belongs to another training.
        """
        file = self.folder / "state.json"
        if not file.is_file():
            return None
        state: dict[str, Any] = json.loads(file.read_text())
        if state["key"] != self.key:
            raise InputError(
                f"{self.folder} is of an unfinished training with other settings or data; "
                f"give another --out, or delete {self.folder.parent} to start anew"
            )
        return Progress(**state["progress"]), load_file(self.folder / state["tensors"])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments by parameter number and name."""
    states = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{n}": t for i, of in states.items() for n, t in of.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take the moments back."""
    state = optimizer.state_dict()
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".")
            state["state"].setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(state)
