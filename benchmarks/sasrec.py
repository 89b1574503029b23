"""SASRec's settings, tried on validation: python benchmarks/sasrec.py --data FOLDER [--sets ...].

The baseline that p5mm must beat gets the search that p5mm got: width, negatives, dropout, one after
the other, each kept where it is better. Adds a table to results.md below --runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

from setting import append, commit, data_folder, machine, options_parser, parsed, preset

from p5mm.baselines.sasrec import SASRec
from p5mm.data.dataset import open_dataset
from p5mm.data.split import LeaveOneOut
from p5mm.metrics.validation import validation_metrics
from p5mm.presets import read_config

TRIALS: Mapping[str, Sequence[Any]] = {
    "dim": (64, 128),
    "negatives": (512, 2048),
    "dropout": (0.3, 0.4, 0.5),
}
Row = tuple[dict[str, Any], str]  # the settings, and a line of the table


def main() -> None:
    options = parsed(options_parser(__doc__))
    for name in options.sets:
        data = replace(read_config(preset(name)).data, root=str(data_folder(options.data, name)))
        dataset = open_dataset(data)
        items = sorted(set(dataset.interactions.item_ids))
        split = LeaveOneOut(dataset.interactions.histories(items)[1])
        rows: list[Row] = []
        best = SASRec(dim=64, seed=options.seeds[0])
        highest = _row(best, split, len(items), rows)
        for key, values in TRIALS.items():
            for value in values:
                trial = replace(best, **{key: value})
                if asdict(trial) in [tried for tried, _ in rows]:
                    continue
                ndcg = _row(trial, split, len(items), rows)
                best, highest = (trial, ndcg) if ndcg > highest else (best, highest)
        append(_block(name, rows, options.seeds[0]), options.runs)


def _row(model: SASRec, split: LeaveOneOut, n_items: int, rows: list[Row]) -> float:
    start = perf_counter()
    model.fit(split, n_items)
    metrics = validation_metrics(model, split.cases("valid"))
    about = " | ".join(str(getattr(model, key)) for key in TRIALS)
    cells = f"{metrics['recall@10']:.4f} | {metrics['ndcg@10']:.4f} | {perf_counter() - start:.0f}"
    print(f"| {about} | {cells} |", flush=True)
    rows.append((asdict(model), f"| {about} | {cells} |"))
    return metrics["ndcg@10"]


def _block(name: str, rows: Sequence[Row], seed: int) -> str:
    lines = [
        f"\n### SASRec's settings, {name}, valid\n",
        f"    python benchmarks/sasrec.py --sets {name} --seeds {seed}",
        f"    {commit()}; {machine()}\n",
        "| " + " | ".join(TRIALS) + " | recall@10 | ndcg@10 | seconds |",
        "|---" * (len(TRIALS) + 3) + "|",
        *(line for _, line in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
