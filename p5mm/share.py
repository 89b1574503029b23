"""The share of each training step that this process computes, where torchrun has started several.

All of them hold the same weights and draw the same batches; each computes the loss of its share of
the examples, and the gradients are summed before the step. What is not a step is computed by each
alike, or by the first for all.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, nn

from p5mm.errors import InputError

LONGEST = timedelta(days=2)  # that the others wait for what the first does alone
APART = 1_000_000_007  # between the random numbers of two processes

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Which examples of a step are this process's.

    Attributes:
        rank: Number of this process.
        of: Processes in all; one computes everything.
    """

    rank: int = 0
    of: int = 1

    @classmethod
    def here(cls) -> "Share":
        """The share of this process; meets the others where there are any.

        Raises:
            InputError: There are, and accelerate is not installed.
        """
        if several() < 2:
            return cls()
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise InputError(
                f"training in several processes needs accelerate, which cannot be imported "
                f"({error}); type: pip install accelerate (the extra distributed of p5mm), or "
                "start without torchrun"
            ) from error
        state = PartialState(cpu=True, timeout=LONGEST)
        return cls(state.process_index, state.num_processes)

    @property
    def first(self) -> bool:
        """Whether this process writes files and says how far it is."""
        return self.rank == 0

    def rows(self, count: int) -> Tensor:
        """Which ``[m]`` int64 of ``count`` examples are this process's."""
        return torch.arange(count)[self.rank :: self.of]

    def part_ways(self) -> None:
        """Each process draws other random numbers from here on, the first those it would alone."""
        if self.rank:
            torch.manual_seed(torch.initial_seed() + self.rank * APART)

    def summed(
        self, parameters: Sequence[nn.Parameter], losses: Mapping[str, float]
    ) -> Mapping[str, float]:
        """Sum gradients, in place, and losses over all processes.

        Args:
            parameters: Whose gradients; one that has none anywhere keeps none.
            losses: Shares of mean losses, of the same names everywhere.
        """
        if self.of == 1:
            return losses
        from accelerate.utils import reduce

        there = torch.tensor([float(p.grad is not None) for p in parameters])
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        told = torch.tensor(list(losses.values()))
        with _meeting():
            flat = reduce(torch.cat([there, told, *[g.flatten() for g in grads]]), "sum")
        there, told = flat[: len(there)], flat[len(there) : len(there) + len(told)]
        flat = flat[len(there) + len(told) :]
        pieces = flat.split([p.numel() for p in parameters])
        for parameter, piece, has in zip(parameters, pieces, there.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter) if has else None
        return dict(zip(losses, told.tolist(), strict=True))

    def agreed(self, make: Callable[[], T]) -> T:
        """What the first process makes, for all; the others wait for it."""
        if self.of == 1:
            return make()
        from accelerate.utils import broadcast_object_list

        kept: list[T | None] = [make() if self.first else None]
        with _meeting():
            made: T = broadcast_object_list(kept)[0]
        return made

    @contextmanager
    def one_before_others(self) -> Iterator[None]:
        """On each machine one process goes through the block first: what it keeps is there."""
        if self.of == 1:
            yield
            return
        from accelerate import PartialState

        state = PartialState()
        if state.is_local_main_process:
            yield
        with _meeting():
            state.wait_for_everyone()
        if not state.is_local_main_process:
            yield

    def end(self) -> None:
        """Wait until all have come here, and leave them."""
        if self.of > 1:
            from accelerate import PartialState

            with _meeting():
                PartialState().wait_for_everyone()
            PartialState().destroy_process_group()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Only the first process says anything but errors."""
        with ExitStack() as stack:
            if not self.first:
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(redirect_stderr(nowhere))
            yield


@contextmanager
def _meeting() -> Iterator[None]:
    """What all processes do together; where one has ended, the others end too.

    Raises:
        ChildProcessError: One has.
    """
    try:
        yield
    except RuntimeError as error:  # the kinds of it depend on the backend
        raise ChildProcessError(
            "another process of this training has ended; its own message says why"
        ) from error


def several() -> int:
    """How many processes torchrun has started; 1 where it has not."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
