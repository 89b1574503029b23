"""Whether explanations name what carries a score: python benchmarks/faithfulness.py MODEL.

For some users the first recommendation is explained. Then the items that the explanation names are
left out of the history together, and what the score loses is set beside what it loses without as
many random ones, the most recent ones, and those with most of the decoder's attention. Prints means
with 95 % intervals over users and paired differences, and adds a block to results.md below --runs.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from setting import append, commit, machine

from p5mm.data.histories import Histories
from p5mm.metrics.intervals import intervals
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.explanation import explain
from p5mm.serving.folder import read_model

WAYS = ("named", "attended", "recent", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--items", type=int, default=3, help="left out together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    model = read_model(options.model)
    long = np.flatnonzero(model.histories.lengths >= 2 * options.items + 2)
    rng = np.random.default_rng(options.seed)
    users = np.sort(rng.permutation(long)[: options.users])
    lost = np.array([_lost(model, int(user), options.items, rng) for user in users])
    append(_block(options, lost), options.runs)


def _lost(
    model: TrainedModel, user: int, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What the score of a user's first recommendation loses, ``[ways]``."""
    history = model.histories.select(np.array([user]))
    history = history.tail(np.minimum(history.lengths, model.scorer.asking.max_history))
    item = int(model.scorer.rank(history, 1, never=history)[0][0, 0])
    told = explain(model, "", history, item)
    rows = model.catalog.rows
    by_attention = sorted(told.reasons, key=lambda reason: -reason.attention)
    chosen = {
        "named": [rows[reason.item_id] for reason in told.reasons[:count]],
        "attended": [rows[reason.item_id] for reason in by_attention[:count]],
        "recent": history[0][-count:].tolist(),
        "random": rng.permutation(history[0])[:count].tolist(),
    }
    left = Histories.joined([_without(history, chosen[way], len(model.catalog)) for way in WAYS])
    asked = np.full((len(WAYS), 1), item)
    scores = _scores(model, left, asked)
    return told.score - scores


def _without(history: Histories, rows: list[int], items: int) -> Histories:
    gone = np.zeros(items, dtype=np.bool_)
    gone[rows] = True
    return history.without(gone)


def _scores(
    model: TrainedModel, histories: Histories, items: NDArray[np.int64]
) -> NDArray[np.float64]:
    encoded = model.scorer.encode(histories)
    found = model.scorer.rerank(encoded, histories, torch.from_numpy(items))
    return found.flatten().double().numpy()


def _block(options: argparse.Namespace, lost: NDArray[np.float64]) -> str:
    columns = {way: lost[:, place] for place, way in enumerate(WAYS)}
    columns |= {f"named - {way}": lost[:, 0] - columns[way] for way in WAYS[1:]}
    table = intervals(np.column_stack(list(columns.values())), options.seed)
    lines = [
        f"\n### Explanations of {options.model.name}: {len(lost)} users, {options.items} items\n",
        f"    python benchmarks/faithfulness.py {options.model} --users {options.users} "
        f"--items {options.items} --seed {options.seed}",
        f"    {commit()}; {machine()}\n",
        "| left out | the score loses |",
        "|---|---|",
    ]
    for name, cell in zip(columns, table, strict=True):
        lines.append(f"| {name} | {cell.value:+.3f} [{cell.low:+.3f}, {cell.high:+.3f}] |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
