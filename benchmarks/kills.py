"""A job killed again and again, then finished: python benchmarks/kills.py MODEL.

`p5mm recommend` makes the table of many users of MODEL, a trained model's folder, once without
being disturbed. Then the same command is killed (SIGKILL) at random moments, most of them behind
its start, some before it has begun to work, and at last left alone: into a folder of parts, and
into a file. The three tables must be the same to the last bit. Parts are small, so that there are
many moments between them. Adds a table to results.md below --runs.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from setting import append, commit, machine

from p5mm.serving.job import MANIFEST

WINDOW, LONGEST = 500, 12
COMMAND = f"""
import sys
from p5mm.commands.main import main
from p5mm.serving import job
job.WINDOW = {WINDOW}
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--kills", type=int, default=50, help="of each output")
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    lines = [
        f"\n    python benchmarks/kills.py {options.model.name} --kills {options.kills} "
        f"--users {options.users}",
        f"    {commit()}; {machine()}; seed 0\n",
        "| output | killed | of it at work | parts made | rows | same table |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        lines += _table(Path(folder), options.model, options.kills, options.users)
    append("\n".join([*lines, ""]), options.runs)


def _table(folder: Path, model: Path, kills: int, users: int) -> list[str]:
    people = _people(folder / "people.parquet", model, users)
    seconds = _calm(_command(model, people, folder / "calm"), folder / "calm" / MANIFEST)
    calm, lines = pq.read_table(folder / "calm"), []
    for out, parts in ((folder / "killed", "killed"), (folder / "k.parquet", "k.parquet.parts")):
        command, manifest = _command(model, people, out), folder / parts / MANIFEST
        working = [_kill(command, manifest, 1.5 * seconds / kills, n) for n in range(kills)]
        subprocess.run(command, check=True)
        same = pq.read_table(out).equals(calm)
        cells = [out.name, len(working), sum(working), -(-users // WINDOW), calm.num_rows, same]
        lines.append(f"| {' | '.join(map(str, cells))} |")
        if not same:
            raise SystemExit(f"{out} differs from what an undisturbed run writes")
    return lines


def _people(path: Path, model: Path, users: int) -> Path:
    """Histories of random items of the model's catalog."""
    items = pq.read_table(model / "items.parquet", columns=["item_id"])["item_id"].to_pylist()
    draws = random.Random(0)
    histories = [draws.choices(items, k=draws.randrange(LONGEST)) for _ in range(users)]
    names = [f"p{number}" for number in range(users)]
    pq.write_table(pa.table({"user_id": names, "history": histories}), path)
    return path


def _command(model: Path, people: Path, out: Path) -> list[str]:
    asked = ["recommend", str(model), "--users", str(people), "--out", str(out)]
    return [sys.executable, "-c", COMMAND, *asked]


def _calm(command: list[str], manifest: Path) -> float:
    """Let a command finish; the seconds that it was at work."""
    run = subprocess.Popen(command)
    while run.poll() is None and not _changed(manifest):
        time.sleep(0.002)
    start = time.perf_counter()
    if run.wait():
        raise SystemExit("the undisturbed run failed")
    return time.perf_counter() - start


def _kill(command: list[str], manifest: Path, longest: float, number: int) -> bool:
    """Start a command and kill it; whether it was at work, which it tells by its manifest."""
    draws = random.Random(number)
    before = _changed(manifest)
    run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    early = number % 10 == 9
    while not early and run.poll() is None and _changed(manifest) == before:
        time.sleep(0.002)
    time.sleep(draws.random() * longest)
    run.send_signal(signal.SIGKILL)
    return run.wait() == -signal.SIGKILL and not early


def _changed(manifest: Path) -> int:
    try:
        return manifest.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    main()
