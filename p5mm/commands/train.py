"""Train a model by a preset or a YAML.

Dotted keys such as --train.epochs 3 override it. An interrupted training goes on when the same
command is given again. torchrun -m p5mm train trains in several processes together.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5mm.commands.options import tell_keys
from p5mm.commands.output import add_force
from p5mm.config import sections
from p5mm.errors import InputError
from p5mm.terminal import columns, say

if TYPE_CHECKING:
    from p5mm.ranking.trained_model import TrainedModel

TAKES_MORE = True  # dotted keys of the configuration
TOGETHER = True  # in the processes that torchrun starts


class _List(argparse.Action):
    """Prints the presets and ends."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**(settings | {"nargs": 0}))

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from p5mm.presets import presets

        print(columns([("preset", "what it is for"), *presets().items()]))
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm train``."""
    parser.add_argument("config", help="a YAML file, or the name of a preset: default")
    parser.add_argument("--list", action=_List, help="list the presets that come with p5mm")
    parser.add_argument("--data", metavar="DIR", help="folder of the data (data.root)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the model")
    add_force(parser)
    tell_keys(parser, sections())


def run(options: argparse.Namespace) -> None:
    """Train, or go on with a training that was interrupted."""
    train(options.config, options.out, options.data, options.overrides, options.force)


def train(
    config: str | Path,
    out: str | Path,
    data: str | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
) -> "TrainedModel":
    """Trains a model by a configuration and saves it; goes on where a training was interrupted.

    Args:
        config: A YAML file, or the name of a preset.
        out: The model's folder.
        data: Folder of the data; that of the configuration where None.
        overrides: Dotted keys and their values.
        force: Replace whatever is in ``out``.

    Raises:
        InputError: The configuration or the data cannot be used, or ``out`` holds something else.
    """
    from p5mm.data.dataset import open_dataset
    from p5mm.presets import read_config
    from p5mm.serving.folder import check_target, is_model
    from p5mm.serving.recommender import Recommender
    from p5mm.share import Share

    folder, share = Path(out), Share.here()
    if share.first and is_model(folder) and not force:
        raise InputError(
            f"{folder} holds a finished model; give another --out, or --force to train it anew"
        )
    if share.first:
        check_target(folder, force)
    settings = read_config(config, overrides)
    if data is not None:
        settings = replace(settings, data=replace(settings.data, root=data))
    start = time.perf_counter()
    with share.quiet():
        dataset = open_dataset(settings.data, first_day=not settings.train.epochs)
        recommender = Recommender.fit(dataset, settings, checkpoint=folder / "checkpoint")
        if share.first:
            recommender.save(folder, force)
            say(*_told(recommender.model), f"{folder}: done in {time.perf_counter() - start:.0f} s")
        share.end()
    return recommender.model


def _told(model: "TrainedModel") -> list[str]:
    epochs, tried = model.training_log, model.fitted.tried
    if not epochs:
        return ["the base, likeness of content and words rank alike"]
    best = max(epochs, key=lambda epoch: epoch["ndcg@10"])
    weights = [f"{name} {weight:g}" for name, weight in model.fitted.weights.items() if weight]
    gained = ", ".join(f"{name} {value:.4f}" for name, value in tried.items())
    decoder = model.fitted.weights.get("decoder")
    if model.fitted.likeness:
        weights, decoder = ["likeness of content and words, as on a first day"], 0.0
    return [
        f"best epoch {best['epoch']:.0f} of {len(epochs)}: validation "
        f"recall@10 {best['recall@10']:.4f}, ndcg@10 {best['ndcg@10']:.4f} (retriever)",
        f"reranker: {', '.join(weights) or 'none, the retriever alone ranks'}"
        f"{'' if decoder else '; the decoder does not rank'}; "
        f"validation ndcg@10 on users not fitted on: {gained}",
        f"items never taken: logits {-model.fitted.handicap:+g} on the first page, "
        f"{model.fitted.lift - model.fitted.handicap:+g} beyond it",
    ]
