"""What the benchmarks of quality share: options, the setting in words, where results go."""

import argparse
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from p5mm.config import Config, DataConfig
from p5mm.evaluation.linter.model import model_findings
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import read_model

HERE = Path(__file__).parent
ROOT = HERE.parent
SETS = ("ml-100k", "amazon-beauty")


def options_parser(
    about: str | None,
    seeds: Sequence[int] = (0,),
    split: str = "valid",
    sets: Sequence[str] = SETS,
) -> argparse.ArgumentParser:
    """The options of a benchmark that trains presets; ``parsed`` reads them."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="+", default=list(sets))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--split", choices=["valid", "test"], default=split)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given; dotted overrides of a preset are kept in ``overrides``."""
    given, overrides = parser.parse_known_args()
    given.overrides = overrides
    return given


def preset(name: str) -> Path:
    """The configuration of a data set."""
    return ROOT / "configs" / f"{name}.yaml"


def data_folder(data: Path, name: str) -> Path:
    """The folder of a data set's preset: that of its name, or of the beginning of its name."""
    there = [path for path in data.iterdir() if path.is_dir() and name.startswith(path.name)]
    return max(there, key=lambda path: len(path.name), default=data / name)


def finished(path: Path, config: Config) -> TrainedModel | None:
    """The finished model of an earlier call; None where there is none.

    Raises:
        ValueError: It was trained with other settings.
    """
    if not (path / "config.json").is_file():
        return None
    model = read_model(path)
    if _told(model.config) != _told(config):
        raise ValueError(
            f"{path} was trained with other settings; give another --runs, or remove that folder"
        )
    return model


def _told(config: Config) -> Config:
    """The settings without what a saved model does not keep: files and prompts."""
    read = config.data
    data = DataConfig(k_core=read.k_core, shuffle_ties=read.shuffle_ties, split=read.split)
    return replace(config, data=data, train=replace(config.train, prompts=None))


def leakage(model: TrainedModel) -> str:
    """What the leakage linter says of a model, for a block of results.

    Raises:
        LeakageError: The model could see what it is asked for.
    """
    findings = [str(finding) for finding in model_findings(model)]
    for finding in findings:
        print(finding, flush=True)
    return "; ".join(findings) or "none found"


def append(block: str, runs: Path) -> None:
    """Print a block of results, and add it to results.md among the runs."""
    print(block, flush=True)
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "results.md").open("a", encoding="utf-8") as results:
        results.write(block)


def commit() -> str:
    """The commit that is measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    )
    return done.stdout.strip() or "no commit"


def machine() -> str:
    """The machine, in words."""
    return (
        f"{os.cpu_count()} x {platform.processor() or platform.machine()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
