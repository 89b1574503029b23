"""A training's state on disk: written whole or not at all, read back to the same numbers."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from p5mm.arrays import check_shape, write_arrays
from p5mm.errors import InputError
from p5mm.files import whole_file
from p5mm.plain import check_type, read_json, reading

STATE, TENSORS = "state.json", re.compile(r"epoch-\d{1,9}\.safetensors")


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
class _State:
    """What state.json says."""

    key: str
    tensors: str
    progress: Progress


@dataclass(frozen=True)
class Checkpoint:
    """A folder with the state of one training, recognised by its key."""

    folder: Path
    key: str

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Write a new state beside the old one, then switch to it.

        Raises:
            OSError: It cannot be written; the state before is whole.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{progress.epoch}.safetensors"
        with whole_file(self.folder / name) as draft:
            write_arrays(draft, tensors)
        state = {"key": self.key, "tensors": name, "progress": asdict(progress)}
        with whole_file(self.folder / STATE) as draft:
            draft.write_text(json.dumps(state), encoding="utf-8")
        for old in self.folder.iterdir():
            if TENSORS.fullmatch(old.name) and old.name != name:
                old.unlink()

    def load(
        self,
        like: Mapping[str, Tensor] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> tuple[Progress, dict[str, Tensor]] | None:
        """The state, or None where there is none yet.

        Args:
            like: The tensors of the training that goes on: those in the folder must have their
                names, shapes and types. None checks nothing.
            optimizer: Whose moments may be in the folder besides.

        Raises:
            InputError: The folder belongs to another training, or is damaged.
        """
        path = self.folder / STATE
        if not path.is_file():
            return None
        remedy = f"delete {self.folder} to train anew"
        state = read_json(path, remedy)
        if isinstance(state.get("key"), str) and state["key"] != self.key:
            raise InputError(
                f"{self.folder} is of an unfinished training with other settings or data; "
                f"give another --out, or delete {self.folder.parent} to start anew"
            )
        with reading(path, remedy):
            check_type(state, _State, "the state")
            if not TENSORS.fullmatch(state["tensors"]):
                raise InputError(f"'{state['tensors'][:80]}' is no file of tensors")
        file = self.folder / state["tensors"]
        with reading(file, remedy):
            if file.is_symlink():
                raise InputError("it is a link, and is not followed")
            tensors: dict[str, Tensor] = load_file(file)
            if like is not None:
                _check(tensors, like, {} if optimizer is None else _moments(optimizer))
        return Progress(**state["progress"]), tensors


def _check(
    tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], moments: Mapping[str, Tensor]
) -> None:
    """Check that tensors are all those of ``like``, and otherwise of ``moments``."""
    for name in like:
        if name not in tensors:
            raise InputError(f"'{name}' is missing")
    for name, tensor in tensors.items():
        wanted = like.get(name, moments.get(name))
        if wanted is None:
            raise InputError(f"there is an unknown tensor '{name[:80]}'")
        if tensor.dtype != wanted.dtype:
            raise InputError(f"'{name}' is of {tensor.dtype}, not {wanted.dtype}")
        check_shape(tensor.shape, wanted.shape, name)


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the moments of each parameter look like, as `optimizer_tensors` names them."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    looks: dict[str, Tensor] = {}
    for number, parameter in enumerate(parameters):
        alike = dict.fromkeys(("exp_avg", "exp_avg_sq"), parameter.detach())
        for name, tensor in (alike | {"step": torch.zeros(())}).items():
            looks[f"optimizer.{number}.{name}"] = tensor
    return looks


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
