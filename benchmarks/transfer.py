"""What a base is worth to a shop of some size: python benchmarks/transfer.py BASE --data FOLDER.

BASE is a folder of `p5mm pretrain`. Of a set's users a share is drawn by the seed; models learn
from their training items alone, choose by their validation items, and rank the test items of all
users among all items that anybody took, reading whole histories. Share 0 is the first day. Trained
are the preset from the base and from scratch, without the T5's decoder unless --decoder is given,
and SASRec; popularity counts the log of the share, on the first day the whole
one; content-kNN is tuned on validation items of the whole log, which favours it. Prints NDCG@10,
adds a table to results.md below --runs, and draws the curves there. What was measured is kept in
curves-SET.jsonl, so that a run broken off goes on, and seeds may be measured one by one. Dotted
overrides of the preset follow the options. The picture needs matplotlib:
pip install -e ".[benchmarks]".
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from setting import append, commit, data_folder, machine, options_parser, parsed, preset

from p5mm.baselines.base import baselines
from p5mm.baselines.content_knn import ContentKNN, tuned
from p5mm.config import Config
from p5mm.data.dataset import Dataset, open_dataset
from p5mm.data.interactions import Interactions
from p5mm.data.split import split_log
from p5mm.encoders.store import FeatureStore
from p5mm.evaluation.evaluate import evaluate
from p5mm.indexing.encode import encode_catalog
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.validation import validation_ndcg
from p5mm.model.content import Content
from p5mm.presets import read_config
from p5mm.training.fit import fit
from p5mm.training.training_data import TrainingData

METRIC = "ndcg@10"
BASE, SCRATCH = "p5mm from the base", "p5mm from scratch"


def main() -> None:
    parser = options_parser(__doc__, split="test", sets=("amazon-beauty",))
    parser.add_argument("base", type=Path)
    parser.add_argument("--shares", nargs="+", type=float, default=[0, 1, 3, 10, 30, 100])
    parser.add_argument("--decoder", action="store_true", help="train the decoder too")
    parser.add_argument("--without", nargs="+", default=[], help="of: scratch sasrec")
    options = parsed(parser)
    for name in options.sets:
        shop = Shop.open(options, name)
        found = {
            (share, seed): _kept(options, shop, share, seed)
            for seed in options.seeds
            for share in options.shares
        }
        append(_block(options, name, found), options.runs)
        _draw(found, name, options.split, options.runs / f"curves-{name}.png")


def _draw(found: "Found", name: str, split: str, path: Path) -> None:
    """A line a model, with the intervals over users (of the first seed)."""
    figure = Figure((7, 4), layout="constrained", dpi=120)
    axes = figure.add_subplot(xlabel="% of the users in the log", ylabel=f"NDCG@10, {split}")
    axes.set(title=f"{name}, mean of {len({seed for _, seed in found})} seeds")
    axes.set_xscale("symlog", linthresh=1)
    first = min(seed for _, seed in found)
    for model, by_share in _means(found).items():
        shares, means = [*by_share], [*by_share.values()]
        spread = [[abs(found[s, first][model][of] - found[s, first][model][0]) for s in shares]
                  for of in (1, 2)]  # fmt: skip
        axes.errorbar(shares, means, spread, marker="o", ms=3, capsize=2, label=model)
    shares = sorted({share for share, _ in found})
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


@dataclass(frozen=True)
class Shop:
    """A set, whole, and what is the same for every share of its users."""

    name: str
    config: Config
    whole: Dataset
    data: TrainingData
    knn: ContentKNN

    @classmethod
    def open(cls, options: argparse.Namespace, name: str) -> "Shop":
        """Read a set, and tune content-kNN on it."""
        tasks = [] if options.decoder else ["--train.tasks", "{}"]
        config = read_config(preset(name), [*tasks, *options.overrides])
        root = str(data_folder(options.data, name))
        config = replace(config, data=replace(config.data, root=root))
        whole = open_dataset(config.data)
        data = TrainingData.of(whole)
        return cls(name, config, whole, data, _content_knn(config, whole, data))

    def of_seed(self, seed: int) -> Config:
        """The settings of one training."""
        return replace(self.config, train=replace(self.config.train, seed=seed))


def _kept(
    options: argparse.Namespace, shop: Shop, share: float, seed: int
) -> dict[str, tuple[float, float, float]]:
    """What an earlier call measured by the same setting; else it is measured, and kept."""
    path = options.runs / f"curves-{shop.name}.jsonl"
    setting = [
        f"{share:g}", seed, options.base.name, options.split, options.decoder,
        sorted(options.without), options.overrides,
    ]  # fmt: skip
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in map(json.loads, lines):
        if line["setting"] == setting:
            return {model: tuple(value) for model, value in line["values"].items()}
    values = _values(options, shop, share, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as kept:
        kept.write(json.dumps({"setting": setting, "commit": commit(), "values": values}) + "\n")
    return values


def _values(
    options: argparse.Namespace, shop: Shop, share: float, seed: int
) -> dict[str, tuple[float, float, float]]:
    """Model to NDCG@10 and its interval."""
    part = replace(shop.whole, interactions=_some(shop.whole.interactions, share, seed))
    start = time.perf_counter()
    rankers = _trained(options, shop.of_seed(seed), part, shop.data, share)
    rankers |= _baselines(options, shop, part, share, seed)
    cases = shop.data.split.cases(options.split)
    report = evaluate(rankers, cases, len(shop.data.rows), seed=seed)
    values = {
        model: (of[METRIC].value, of[METRIC].low, of[METRIC].high)
        for model, of in report.models.items()
    }
    told = ", ".join(f"{model} {value:.4f}" for model, (value, _, _) in values.items())
    seconds = time.perf_counter() - start
    print(f"{shop.name}, {share:g} %, seed {seed}: {told} ({seconds:.0f} s)", flush=True)
    return values


def _some(log: Interactions, share: float, seed: int) -> Interactions:
    """The log of a share of the users; at 0 the whole one, of which nothing is learned."""
    if share in (0, 100):
        return log
    users = np.array(sorted(set(log.table["user_id"].to_pylist())))
    drawn = np.random.default_rng(seed).permutation(users)[: round(len(users) * share / 100)]
    kept = set(drawn.tolist())
    mask = [user in kept for user in log.table["user_id"].to_pylist()]
    return Interactions.from_table(log.table.filter(mask))


def _trained(
    options: argparse.Namespace, config: Config, part: Dataset, data: TrainingData, share: float
) -> dict[str, Ranker]:
    begun = replace(config, model=replace(config.model, base=str(options.base)))
    if share == 0:
        wanted = {BASE: replace(begun, train=replace(begun.train, epochs=0))}
    else:
        wanted = {BASE: begun} | ({} if "scratch" in options.without else {SCRATCH: config})
    return {
        name: fit(part, one, FeatureStore()).scorer.among(data.rows) for name, one in wanted.items()
    }


def _baselines(
    options: argparse.Namespace, shop: Shop, part: Dataset, share: float, seed: int
) -> dict[str, Ranker]:
    _, split = split_log(part.interactions, shop.data.items, shop.config.data.split)
    wanted = (
        ["popularity"] if share == 0 or "sasrec" in options.without else ["popularity", "sasrec"]
    )
    fitted: dict[str, Ranker] = {}
    for name in wanted:
        baseline = baselines.get(name)()
        if hasattr(baseline, "seed"):
            baseline.seed = seed
        baseline.fit(split, len(shop.data.items))
        fitted[name] = baseline
    return fitted | {"content-knn": shop.knn}


def _content_knn(config: Config, whole: Dataset, data: TrainingData) -> ContentKNN:
    features = encode_catalog(whole.catalog, config.encoders, FeatureStore())
    vectors = {
        f"{modality}{told}": of.vectors[modality][data.rows]
        for told, of in (
            (" whitened", Content.of(features, len(whole.catalog), True)),
            ("", Content.of(features, len(whole.catalog), False)),
        )
        for modality in of.vectors
    }
    cases = data.split.cases("valid")
    some = cases.take(np.unique(np.linspace(0, len(cases) - 1, 1_000).astype(np.int64)))
    return tuned(vectors, lambda ranker: validation_ndcg(ranker, some))


Found = dict[tuple[float, int], dict[str, tuple[float, float, float]]]


def _means(found: Found) -> dict[str, dict[float, float]]:
    """Model to share to the mean of the seeds."""
    models = dict.fromkeys(model for values in found.values() for model in values)
    shares = sorted({share for share, _ in found})
    return {
        model: {
            share: float(np.mean([v[model][0] for (s, _), v in found.items() if s == share]))
            for share in shares
            if any(model in v for (s, _), v in found.items() if s == share)
        }
        for model in models
    }


def _left_out(options: argparse.Namespace) -> list[str]:
    return ["--without", *options.without] if options.without else []


def _block(options: argparse.Namespace, name: str, found: Found) -> str:
    shares = [*dict.fromkeys(share for share, _ in found)]
    decoder = "with the decoder" if options.decoder else "without the decoder"
    lines = [
        f"\n### A base and {name}: {METRIC} by share of the users, {options.split}\n",
        f"    python benchmarks/transfer.py {options.base.name} --sets {name} --shares "
        f"{' '.join(f'{share:g}' for share in shares)} --seeds {' '.join(map(str, options.seeds))}"
        + f" --split {options.split}"
        + (" --decoder" if options.decoder else "")
        + "".join(f" {word}" for word in (*_left_out(options), *options.overrides)),
        f"    {commit()}; {machine()}; {decoder}\n",
        "| model | " + " | ".join(f"{share:g} %" for share in shares) + " |",
        "|---" * (len(shares) + 1) + "|",
    ]
    for model, by_share in _means(found).items():
        cells = [f"{by_share[s]:.4f}" if s in by_share else "-" for s in shares]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    half = np.mean([(high - low) / 2 for v in found.values() for _, low, high in v.values()])
    lines.append(
        f"\nIntervals over users (95 %, of one seed): {half:.4f} to either side on average."
    )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
