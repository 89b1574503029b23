"""Titles that a base writes of soft prompts: python benchmarks/words.py BASE --data FOLDER.

BASE is a folder of `p5mm pretrain`. Of each set the titles of items are written that no training
read: of a set that the base has learned from those held out (one in twenty, by their ids), of any
other set all; at most --most. Beside them stand the titles of the nearest other item by content and
by the base's retrieval vectors, among items whose titles may be learned. Told are ROUGE-1, ROUGE-2
and ROUGE-L (F1, by rouge-score, without stemming) with 95 % intervals over items, the share of
different titles, and some examples. Adds a block to results.md below --runs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from setting import append, commit, data_folder, machine, options_parser, parsed
from torch.nn import functional as F

from p5mm.config import Config
from p5mm.data.dataset import open_dataset
from p5mm.encoders.store import FeatureStore
from p5mm.metrics.intervals import intervals
from p5mm.model.base import read_base
from p5mm.pretraining.titles import is_held_out, written_titles
from p5mm.ranking.trained_model import TrainedModel
from p5mm.training.fit import fit

ROUGE = ("rouge1", "rouge2", "rougeL")
SETS = ("amazon-toys", "ml-100k", "amazon-beauty")
EXAMPLES = 8


def main() -> None:
    parser = options_parser(__doc__, sets=SETS)
    parser.add_argument("base", type=Path)
    parser.add_argument("--most", type=int, default=1_000, help="titles of a set")
    options = parsed(parser)
    for name in options.sets:
        append(_block(options, name), options.runs)


def _block(options: argparse.Namespace, name: str) -> str:
    model = _first_day(options, name)
    real = model.catalog.own_titles
    learned = name in {of.name for of in read_base(options.base).learned}
    asked, others = _rows(model, real, learned, options.most)
    found = {
        "written": written_titles(model.network, model.tokenizer, torch.from_numpy(asked)),
        "nearest by content": _nearest(_content(model), asked, others, real),
        "nearest by the base": _nearest(_learned(model), asked, others, real),
    }
    kind = "held out of its training" if learned else "a set that it has not seen"
    lines = [
        f"\n### Titles of {name}: {len(asked):,} items, {kind}\n",
        f"    python benchmarks/words.py {options.base.name} --sets {name} --most {options.most}",
        f"    {commit()}; {machine()}\n",
        "| titles | " + " | ".join(ROUGE) + " | different |",
        "|---" * (len(ROUGE) + 2) + "|",
    ]
    for told, texts in found.items():
        scores = rouge([real[row] or "" for row in asked], texts)
        cells = [f"{of.value:.4f} [{of.low:.4f}, {of.high:.4f}]" for of in intervals(scores)]
        lines.append(f"| {told} | {' | '.join(cells)} | {len(set(texts)) / len(texts):.2f} |")
    examples = zip(asked[:EXAMPLES], found["written"], strict=False)
    lines += ["", *(f"- {real[row]} -> {text}" for row, text in examples), ""]
    return "\n".join(lines)


def _first_day(options: argparse.Namespace, name: str) -> TrainedModel:
    config = Config()
    base = read_base(options.base).config
    config = replace(
        config,
        data=replace(config.data, root=str(data_folder(options.data, name))),
        model=replace(base, base=str(options.base)),
        train=replace(config.train, epochs=0),
    )
    return fit(open_dataset(config.data), config, FeatureStore())


def _rows(
    model: TrainedModel, real: list[str | None], learned: bool, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Items that are asked for, and those whose titles may be learned."""
    known = np.array([title is not None for title in real])
    kept = np.array([is_held_out(item) for item in model.catalog.item_ids])
    asked = np.flatnonzero(known & kept if learned else known)
    asked = asked[np.unique(np.linspace(0, len(asked) - 1, min(most, len(asked))).astype(int))]
    return asked, np.flatnonzero(known & ~kept)


def _content(model: TrainedModel) -> torch.Tensor:
    parts = [F.normalize(torch.from_numpy(v), dim=1) for v in model.content.vectors.values()]
    return torch.cat(parts, dim=1)


@torch.inference_mode()
def _learned(model: TrainedModel) -> torch.Tensor:
    return model.network.vectors(model.network.items())


def _nearest(
    vectors: torch.Tensor, asked: np.ndarray, others: np.ndarray, real: list[str | None]
) -> list[str]:
    """The title of the nearest other item."""
    alike = vectors[asked] @ vectors[others].T
    alike[torch.from_numpy(asked)[:, None] == torch.from_numpy(others)] = -torch.inf
    return [real[others[place]] or "" for place in alike.argmax(dim=1).tolist()]


def rouge(real: list[str], texts: list[str]) -> np.ndarray:
    """``[n, 3]``."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE))
    scores = [scorer.score(*pair) for pair in zip(real, texts, strict=True)]
    return np.array([[score[name].fmeasure for name in ROUGE] for score in scores])


if __name__ == "__main__":
    main()
