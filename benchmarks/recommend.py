"""Users a second of `p5mm recommend`, its memory, and implicit's recommend on the same users.

    python benchmarks/recommend.py [--users 10000 1000000] [--rectools PYTHON]

A shop is made: items with made vectors and Zipf popularity, a log of 60,000 users; a nano model is
trained on it for an epoch, its decoder weighed as it is (quality means nothing here). Then tables
of histories (mean 9 items, longest 50) go through the command, each number of users in a process of
its own, through implicit's cosine and BPR (pip install implicit), fitted on the same log, and with
--rectools through RecTools' SASRec, by the Python that has it (see rectools_sasrec.py). Told are
users a second without the loading of model and libraries, peak memory, and where the time of a part
of the users goes. Adds a block to results.md below --runs; shop and model are kept there.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from setting import append, commit, machine

LOG_USERS, LONGEST, MEAN, DIM = 60_000, 50, 9, 64
PROFILED = 4_096
COMMAND = """
import json, resource, sys, time
from p5mm.commands.main import main
from p5mm.serving import bulk
from p5mm.serving.recommender import Recommender
begun = []
load = Recommender.load.__func__
def loaded(cls, folder):
    made = load(cls, folder)
    begun.append(time.perf_counter())
    return made
Recommender.load = classmethod(loaded)
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"code": code, "seconds": time.perf_counter() - begun[0], "mb": peak}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", nargs="+", type=int, default=[10_000, 1_000_000])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rectools", type=Path, help="a Python that has rectools[torch]")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    shop = options.runs / f"speed-{options.items}"
    if not (shop / "model" / "config.json").is_file():
        _make(shop, options.items)
    lines = [
        f"\n### recommend, nano, {options.items:,} made items\n",
        f"    python benchmarks/recommend.py --users {' '.join(map(str, options.users))}",
        f"    {commit()}; {machine()}\n",
        "| | users | users a second | peak MB |",
        "|---|---|---|---|",
    ]
    lines += [_ours(shop, count, options.items) for count in options.users]
    lines += _implicit(shop, min(options.users), options.items)
    if options.rectools is not None:
        lines.append(_rectools(options.rectools, shop, min(options.users), options.items))
    append("\n".join([*lines, "", _phases(shop), ""]), options.runs)


def _make(shop: Path, items: int) -> None:
    """A catalog, a log, and a model trained on them for an epoch."""
    from p5mm.commands.main import main as p5mm

    shop.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, DIM))
    vectors = centres[rng.integers(200, size=items)] + rng.normal(size=(items, DIM))
    ids = [f"i{number}" for number in range(items)]
    listed = pa.FixedSizeListArray.from_arrays(vectors.astype(np.float32).ravel(), DIM)
    pq.write_table(
        pa.table({"item_id": ids, "vector": listed.cast(pa.list_(pa.float32()))}),
        shop / "items.parquet",
    )
    taken, lengths = _histories(LOG_USERS, items, rng)
    times = np.concatenate([np.arange(length) for length in lengths])
    users = np.repeat([f"u{number}" for number in range(LOG_USERS)], lengths)
    log = pa.table({"user_id": users, "item_id": np.array(ids)[taken], "timestamp": times})
    pq.write_table(log, shop / "log.parquet")
    paths = ["--data.catalog", str(shop / "items.parquet"), "--data.interactions",
             str(shop / "log.parquet"), "--encoders.others", "[vector:vector]"]  # fmt: skip
    quick = ["--train.epochs", "1", "--train.task_epochs", "1"]
    if p5mm(["train", "default", *paths, *quick, "--out", str(shop / "trained"), "--force"]):
        raise SystemExit("the training failed")
    _weigh(shop)


def _weigh(shop: Path) -> None:
    """The same model with its decoder in the score, whatever validation says of one epoch."""
    from p5mm.serving.folder import read_model, write_model

    model = read_model(shop / "trained")
    fitted = replace(model.fitted, weights={"decoder": 1.0}, likeness=False)
    write_model(replace(model, fitted=fitted, saved_index=None), shop / "model", True)


def _histories(
    users: int, items: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items taken, user after user, by popularity alone, and how many each took."""
    lengths = np.clip(rng.geometric(1 / MEAN, size=users) + 2, 3, LONGEST)
    popularity = 1 / (10 + np.arange(items))
    taken = rng.choice(items, size=lengths.sum(), p=popularity / popularity.sum())
    return taken, lengths


def _table(shop: Path, count: int, items: int) -> Path:
    path = shop / f"users-{count}.parquet"
    if not path.is_file():
        taken, lengths = _histories(count, items, np.random.default_rng(1))
        ids = pa.array([f"i{number}" for number in range(items)]).take(pa.array(taken))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        histories = pa.ListArray.from_arrays(pa.array(offsets), ids)
        names = [f"someone-{number}" for number in range(count)]
        pq.write_table(pa.table({"user_id": names, "history": histories}), path)
    return path


def _ours(shop: Path, count: int, items: int) -> str:
    users, out = _table(shop, count, items), shop / "out.parquet"
    asked = ["recommend", str(shop / "model"), "--users", str(users), "--out", str(out), "--force"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *asked], stdout=subprocess.PIPE, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    if told["code"]:
        raise SystemExit("recommend failed")
    return f"| p5mm | {count:,} | {count / told['seconds']:,.0f} | {told['mb']:,.0f} |"


def _implicit(shop: Path, count: int, items: int) -> list[str]:
    """Rows of implicit's recommenders, fitted on the log, asked for the same users."""
    try:
        from implicit.bpr import BayesianPersonalizedRanking
        from implicit.nearest_neighbours import CosineRecommender
    except ImportError:
        return ["| implicit | not installed | | |"]
    log = pq.read_table(shop / "log.parquet")
    names = log["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    rows = [int(item[1:]) for item in log["item_id"].to_pylist()]
    learned = _matrix(names, np.array(rows), items)
    asked = pq.read_table(_table(shop, count, items))["history"].combine_chunks()
    owners = np.repeat(np.arange(count), asked.value_lengths().to_numpy())
    taken = np.array([int(item[1:]) for item in asked.flatten().to_pylist()])
    histories = _matrix(owners, taken, items)
    models: dict[str, Any] = {
        "cosine": CosineRecommender(K=100),
        "BPR": BayesianPersonalizedRanking(factors=127, iterations=5, random_state=0),
    }
    told = []
    for name, model in models.items():
        model.fit(learned, show_progress=False)
        again = {} if name == "cosine" else {"recalculate_user": False}
        users = np.arange(count) if name == "cosine" else np.arange(count) % learned.shape[0]
        start = time.perf_counter()
        model.recommend(users, histories, N=10, **again)
        seconds = time.perf_counter() - start
        told.append(f"| implicit's {name} | {count:,} | {count / seconds:,.0f} | |")
    return told


def _rectools(python: Path, shop: Path, count: int, items: int) -> str:
    """A row of RecTools' SASRec, fitted on the log for an epoch, asked for the same users."""
    script = Path(__file__).with_name("rectools_sasrec.py")
    tables = [str(shop / "log.parquet"), str(_table(shop, count, items))]
    done = subprocess.run(
        [str(python), str(script), *tables], stdout=subprocess.PIPE, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    return f"| RecTools' SASRec | {count:,} | {count / told['seconds']:,.0f} | {told['mb']:,.0f} |"


def _matrix(users: NDArray[np.int64], taken: NDArray[np.int64], items: int) -> Any:
    import scipy.sparse as sp

    ones = np.ones(len(taken), dtype=np.float32)
    return sp.csr_matrix((ones, (users, taken)), shape=(int(users.max()) + 1, items))


def _phases(shop: Path) -> str:
    """Where the time of some of the log's users goes on one core, in words."""
    import torch

    from p5mm.model.network import Network
    from p5mm.ranking.candidates import Source
    from p5mm.ranking.scorer import Scorer
    from p5mm.serving.recommender import Recommender

    seconds: dict[str, float] = {}

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            made = work(*args, **named)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
            return made

        return timed

    torch.set_num_threads(1)  # batches side by side would be counted on top of each other
    recommender = Recommender.load(shop / "model")
    users = recommender.model.user_ids[:PROFILED]
    recommender.recommend(users[:64], k=10)
    for owner, method, name in (
        (Network, "encode", "encoder"), (Network, "rerank", "decoder"),
        (Scorer, "read", "evidence"), (Source, "find", "index"),
    ):  # fmt: skip
        setattr(owner, method, watched(name, getattr(owner, method)))
    start = time.perf_counter()
    recommender.recommend(users, k=10)
    whole = time.perf_counter() - start
    shares = ", ".join(f"{name} {value / whole:.0%}" for name, value in seconds.items())
    rest = 1 - sum(seconds.values()) / whole
    rate = f"{PROFILED / whole:,.0f} a second on one core"
    return f"Time of {PROFILED:,} users of the log ({rate}): {shares}, the rest {rest:.0%}."


if __name__ == "__main__":
    main()
