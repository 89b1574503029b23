"""Mutated pictures, tables and shards are used, or refused with a reason; none crashes or hangs.

    python benchmarks/mutations.py [--n 10000]

Whole files are made of the embedded stickers; `mutated.py` flips bytes of them, cuts them, declares
giant sides, zips bombs into them. Each is read in a process that may take --gib more memory than
its imports, within --seconds: a picture as an encoder reads it, a table or a shard as `p5mm index`
does, down to the texts, vectors and pictures. Prints what became of them, and adds it to results.md
below --runs. Whatever ends in anything but an answer or a reason of p5mm's own makes it fail.
"""

import argparse
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mutated import PICTURES, mutated, whole_files

USED, REFUSED, CRASHED, HUNG = "used", "refused", "crashed", "hung"
ENDS = (USED, REFUSED, CRASHED, HUNG)
START = 120  # seconds that a process may take to start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--gib", type=float, default=1.5, help="memory beside the imports")
    parser.add_argument("--seconds", type=float, default=30, help="for one file")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.gib)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in whole_files(folder).items():
            (folder / file).write_bytes(data)
        ends = tried(folder, options)
    tell(ends, options)
    if any(end in (CRASHED, HUNG) for _, end in ends):
        raise SystemExit(1)


def tried(folder: Path, options: argparse.Namespace) -> Counter[tuple[str, str]]:
    """How many mutations of each kind came to which end."""
    ends: Counter[tuple[str, str]] = Counter()
    numbers = range(options.first, options.first + options.n)
    each = [numbers[start :: options.processes] for start in range(options.processes)]
    with ThreadPoolExecutor(options.processes) as threads:
        for some in threads.map(lambda part: _one_process(folder, part, options), each):
            ends.update(some)
    return ends


def _one_process(folder: Path, numbers: range, options: argparse.Namespace) -> Counter[object]:
    """Mutations read by one process after another, which lives until it crashes or hangs."""
    ends: Counter[object] = Counter()
    worker = _Worker(folder, options.gib)
    for number in numbers:
        kind, end, why = worker.asked(number, options.seconds)
        ends[kind or "of the process", end] += 1
        if end in (CRASHED, HUNG):
            print(f"mutation {number} ({kind}) {end}: {why}", flush=True)
        if not kind:
            worker.end()
            worker = _Worker(folder, options.gib)
    worker.end()
    return ends


class _Worker:
    """A process that reads mutations by their numbers."""

    def __init__(self, folder: Path, gib: float) -> None:
        command = [sys.executable, __file__, "--worker", str(folder), "--gib", str(gib)]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )
        self._answer(START)

    def asked(self, number: int, seconds: float) -> tuple[str, str, str]:
        """Kind, end and reason; an end without a kind is that of the process."""
        if self.process.stdin is not None:
            self.process.stdin.write(b"%d\n" % number)
            self.process.stdin.flush()
        line = self._answer(seconds)
        if line:
            kind, end, why = json.loads(line)
            return kind, end, why
        if line is None:
            return "", HUNG, f"no answer within {seconds:g} s"
        died = self.process.wait(START)
        self.errors.seek(0)
        return "", CRASHED, f"exit {died}: {self.errors.read()[-2000:]}"

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def _answer(self, seconds: float) -> bytes | None:
        """A line, nothing from a dead process; None after so many seconds."""
        stdout = self.process.stdout
        if stdout is None or not select.select([stdout], [], [], seconds)[0]:
            return None
        return stdout.readline()


def work(folder: Path, gib: float) -> None:
    """Read the mutations whose numbers stand on standard input, with a limit of memory."""
    from p5mm.data.catalog import Catalog
    from p5mm.encoders.picture import read_picture

    whole = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    read_picture(whole["0.png"], 32)
    Catalog.read(folder / "a.csv")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for line in sys.stdin:
            file, kind, data = mutated(whole, int(line))
            path = Path(name) / file
            path.write_bytes(data)
            what = (
                "picture"
                if path.suffix[1:] in PICTURES
                else "shard"
                if file == "a.tar"
                else "table"
            )
            print(json.dumps([f"{what}: {kind}", *read(path, what)]), flush=True)
            path.unlink()


def read(path: Path, what: str) -> tuple[str, str]:
    """The end of a file, and why."""
    from p5mm.data.catalog import Catalog
    from p5mm.encoders.picture import read_picture
    from p5mm.errors import InputError

    reasons = ValueError if what == "picture" else InputError
    try:
        if what == "picture":
            read_picture(path, 224)
        else:
            use(Catalog.read(path))
    except reasons as error:
        return (REFUSED, str(error)) if str(error) else (CRASHED, "no reason was given")
    except BaseException:
        return CRASHED, traceback.format_exc()[-2000:]
    return USED, ""


def use(catalog: Any) -> None:
    """Read what an index reads of a catalog; a broken picture is the picture's own matter."""
    from p5mm.encoders.picture import read_picture
    from p5mm.encoders.values.content import content_keys

    _ = catalog.titles
    for field in catalog.fields:
        content_keys(catalog.raw(field))
    for pictures in catalog.pictures or ():
        for picture in pictures if isinstance(pictures, tuple) else [pictures]:
            try:
                if picture is not None:
                    read_picture(picture, 224)
            except ValueError as error:
                if not str(error):
                    raise RuntimeError("a picture is refused without a reason") from error


def tell(ends: Counter[tuple[str, str]], options: argparse.Namespace) -> None:
    """A table of kinds and ends."""
    from setting import append, commit, machine

    lines = [
        f"\n    python benchmarks/mutations.py --n {options.n}",
        f"    {commit()}; {machine()}; {options.gib:g} GiB beside the imports, "
        f"{options.seconds:g} s a file\n",
        f"| mutations | {' | '.join(ENDS)} |",
        "|---|" + "---|" * len(ENDS),
    ]
    lines += [
        f"| {kind} | {' | '.join(f'{ends[kind, end]:,}' for end in ENDS)} |"
        for kind in sorted({kind for kind, _ in ends})
    ]
    totals = [sum(n for (_, end), n in ends.items() if end == of) for of in ENDS]
    lines.append(f"| all {options.n:,} | {' | '.join(f'{n:,}' for n in totals)} |")
    append("\n".join([*lines, ""]), options.runs)


if __name__ == "__main__":
    main()
