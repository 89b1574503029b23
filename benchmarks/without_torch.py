"""Torch, onnxruntime, and onnxruntime in bytes: python benchmarks/without_torch.py MODEL.

MODEL is a trained model's folder. All three rank the same test cases in turn: users a second
(median of the rounds), NDCG@10 with what is lost of it, how far the scores are apart. Then each
recommends to ten users as a command of its own: seconds from start to end and the most memory.
Adds a table to results.md below --runs.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from setting import append, commit, machine

from p5mm.metrics.intervals import interval, paired
from p5mm.metrics.ranks import metrics_per_user
from p5mm.portable.export import write_export
from p5mm.portable.recommender import open_recommender
from p5mm.progress import Progress
from p5mm.serving.limits import Limits
from p5mm.serving.requests import Requests
from p5mm.serving.server import Ranks, Recommends, Server

K = 10
COMMAND = r"""
import re, sys
from pathlib import Path
from p5mm.commands.main import main
code = main(sys.argv[1:])
most = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
print("torch" in sys.modules, int(most[1]) // 1024)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, help="of the test cases; all of them by default")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folders = {"torch": options.model, "onnx": Path(made, "x"), "onnx int8": Path(made, "x8")}
        append(measured(folders, options), options.runs)


def measured(folders: dict[str, Path], options: argparse.Namespace) -> str:
    recommenders = {"torch": open_recommender(folders["torch"])}
    model = recommenders["torch"].model
    exported = []
    for name, int8 in (("onnx", False), ("onnx int8", True)):
        start = time.perf_counter()
        write_export(model, folders[name], int8)
        exported.append(f"{time.perf_counter() - start:.0f}")
        recommenders[name] = open_recommender(folders[name])
    cases = model.split.cases("test").in_rows(model.rows)
    cases = cases.take(np.arange(options.users or len(cases)))
    asked = Requests([str(user) for user in cases.users], cases.histories)
    times, found = in_turn(recommenders, model.rows, asked, options.rounds)
    ndcg = {name: ndcg_of(rows, cases.targets) for name, (rows, _) in found.items()}
    lines = [
        f"\n    python benchmarks/without_torch.py {options.model.name}",
        f"    {commit()}; {machine()}; {len(cases)} users, {len(model.catalog)} items, "
        f"median of {options.rounds} rounds in turn; exported in {' and '.join(exported)} s\n",
        "| | ndcg@10 | less than torch | users/s | a command for 10 users | memory | networks | "
        "tables |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, folder in folders.items():
        value, lost = interval(ndcg[name]), paired(ndcg["torch"], ndcg[name])
        seconds, memory = command(folder, model.user_ids[:10])
        cells = [
            f"{value.value:.4f}", f"{lost.value:+.4f} [{lost.low:+.4f}, {lost.high:+.4f}]",
            f"{len(cases) / median(times[name]):.0f}", f"{seconds:.1f} s", f"{memory} MB",
            f"{size(folder, '.onnx'):.1f} MB", f"{size(folder, 'arrays.safetensors'):.1f} MB",
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    told = [f"{name}: {apart(found['torch'], found[name])}" for name in ("onnx", "onnx int8")]
    return "\n".join([*lines, "", *(f"{line}  " for line in told), ""])


def in_turn(
    recommenders: dict[str, Recommends], rows: NDArray[np.int64], asked: Requests, rounds: int
) -> tuple[dict[str, list[float]], dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]]:
    """Seconds of each round, and the best items with their scores."""
    times: dict[str, list[float]] = {name: [] for name in recommenders}
    found = {}
    for number in range(1 + rounds):  # the first is not counted
        for name, recommender in recommenders.items():
            ranks: Ranks = recommender.scorer.within(rows)
            server = Server.of(recommender.model, ranks, Limits(), True)
            start = time.perf_counter()
            found[name] = server.best(asked, K, True, Progress("rank", len(asked), "user"))
            if number:
                times[name].append(time.perf_counter() - start)
    return times, found


def ndcg_of(rows: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    hits = rows == targets[:, None]
    ranks = np.where(hits.any(axis=1), 1.0 + hits.argmax(axis=1), np.inf)
    return metrics_per_user(ranks, (K,))[f"ndcg@{K}"]


def apart(
    one: tuple[NDArray[np.int64], NDArray[np.float32]],
    other: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> str:
    same = one[0] == other[0]
    most = np.abs(one[1] - other[1])[same].max()
    shared = np.mean([len(np.intersect1d(a, b)) for a, b in zip(one[0], other[0], strict=True)])
    return (
        f"{same.mean():.2%} of the places hold the same item, and scores there are at most "
        f"{most:.1e} apart; {shared:.2f} of {K} items are shared"
    )


def command(folder: Path, users: list[str]) -> tuple[float, int]:
    """Seconds and MB of ``p5mm recommend`` in a process of its own; an export loads no torch."""
    with tempfile.TemporaryDirectory() as made:
        pq.write_table(pa.table({"user_id": users}), Path(made, "users.parquet"))
        given = ["recommend", folder, "--users", Path(made, "users.parquet")]
        given += ["--out", Path(made, "out.parquet")]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *map(str, given)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    loaded, memory = done.stdout.split()
    if (loaded == "True") != (folder / "model.safetensors").is_file():
        raise RuntimeError(f"{folder}: torch was loaded: {loaded}")
    return seconds, int(memory)


def size(folder: Path, ending: str) -> float:
    return sum(file.stat().st_size for file in folder.iterdir() if file.name.endswith(ending)) / 1e6


if __name__ == "__main__":
    main()
