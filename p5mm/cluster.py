"""Workers of a Ray cluster, by Ray Data: pieces of a work go out, results come back in order."""

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from p5mm.errors import InputError, unknown

if TYPE_CHECKING:
    import pyarrow as pa

ENGINES = ("local", "ray")

log = logging.getLogger(__name__)

Piece = Callable[["pa.Table"], "pa.Table"]


@dataclass(frozen=True)
class Cluster:
    """The machines of a Ray cluster, or the cores of this machine where none is named.

    ``RAY_ADDRESS`` names a cluster; all its machines see the same files under the same paths.

    Attributes:
        modules: That each worker imports first, as ``p5mm --import`` does here.
    """

    modules: tuple[str, ...] = ()

    @classmethod
    def of(cls, engine: str, modules: Sequence[str] = ()) -> "Cluster | None":
        """The workers of an engine; None where the work is done here.

        Raises:
            InputError: There is no such engine, or Ray is not installed.
        """
        if engine not in ENGINES:
            raise unknown("engine", engine, ENGINES)
        if engine == "local":
            return None
        _ray()
        return cls(tuple(modules))

    def map(
        self, work: Piece, pieces: Sequence["pa.Table"], gpu: bool = False
    ) -> Iterator["pa.Table"]:
        """What ``work`` makes of each piece, in the order of the pieces.

        Args:
            work: Goes to each worker once; what it loads when it is first called stays there.
            pieces: Small enough that a worker holds one, and many for each worker.
            gpu: Whether each worker takes a GPU where the cluster has any.

        Raises:
            InputError: As the work raises it.
            ChildProcessError: A worker has failed otherwise; its machine lacks a file, or memory.
        """
        import pyarrow as pa

        ray = _ray()
        with _cluster(ray) as data:
            packed = [pa.table({"piece": pa.array([_bytes(p)], pa.large_binary())}) for p in pieces]
            needs = {"num_gpus" if gpu and _count(ray, "GPU") else "num_cpus": 1}
            count = _count(ray, "GPU" if "num_gpus" in needs else "CPU")
            made = data.from_arrow(packed).map_batches(
                _Worker,
                fn_constructor_args=(work, self.modules, os.getcwd()),
                compute=data.ActorPoolStrategy(size=max(1, min(count, len(pieces)))),
                batch_size=1,
                batch_format="pyarrow",
                **needs,
            )
            made.context.execution_options.preserve_order = True
            try:
                for batch in made.iter_batches(batch_size=1, batch_format="pyarrow"):
                    for line in batch["warnings"][0].as_py():
                        log.warning("%s", line)
                    if (wrong := batch["wrong"][0].as_py()) is not None:
                        raise InputError(wrong)
                    if (failed := batch["failed"][0].as_py()) is not None:
                        raise ChildProcessError(f"a worker of Ray has failed: {failed}")
                    yield _table(batch["made"][0].as_buffer())
            except ray.exceptions.RayError as error:
                raise ChildProcessError(f"a worker of Ray has failed: {error}") from error


class _Worker:
    """One worker: what it is to do, and what that has loaded."""

    def __init__(self, work: Piece, modules: Sequence[str], folder: str) -> None:
        self.work = work
        sys.path.insert(0, folder)
        for module in modules:
            importlib.import_module(module)

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        """One piece to its result, or to what is wrong with it."""
        import pyarrow as pa

        told: dict[str, Any] = dict.fromkeys(("made", "wrong", "failed"))
        with _warnings() as told["warnings"]:
            try:
                told["made"] = _bytes(self.work(_table(batch["piece"][0].as_buffer())))
            except InputError as error:
                told["wrong"] = str(error)
            except (OSError, MemoryError, ImportError) as error:
                told["failed"] = f"{type(error).__name__}: {error}"
        kinds = (pa.large_binary(), pa.string(), pa.string(), pa.list_(pa.string()))
        return pa.table(
            {name: pa.array([told[name]], kind) for name, kind in zip(told, kinds, strict=True)}
        )


class _Heard(logging.Handler):
    """Keeps the lines of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What p5mm warns of in the block, instead of in a log that nobody reads."""
    ours, heard = logging.getLogger("p5mm"), _Heard()
    ours.addHandler(heard)
    loud, ours.propagate = ours.propagate, False
    try:
        yield heard.lines
    finally:
        ours.removeHandler(heard)
        ours.propagate = loud


# A piece travels as one cell: Ray cuts and joins tables as it likes, and drops empty ones.
def _bytes(table: "pa.Table") -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _table(packed: Any) -> "pa.Table":
    import pyarrow as pa

    return pa.ipc.open_stream(packed).read_all()


def _ray() -> ModuleType:
    """Ray, imported.

    Raises:
        InputError: It is not installed.
    """
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            f"--engine ray needs Ray Data, which cannot be imported ({error}); type: "
            'pip install "ray[data]" (the extra ray of p5mm), or leave --engine out'
        ) from error


def _count(ray: ModuleType, resource: str) -> int:
    """How many of a resource the cluster has."""
    return int(ray.cluster_resources().get(resource, 0))


@contextmanager
def _cluster(ray: ModuleType) -> Iterator[ModuleType]:
    """Ray Data on a cluster: the one that this process has joined, or else one joined for now."""
    joined = ray.is_initialized()
    if not joined:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        ray.init(os.environ.get("RAY_ADDRESS", "local"), logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    bars, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        yield ray.data
    finally:
        context.enable_progress_bars = bars
        if not joined:
            ray.shutdown()
