"""Join new interactions to the histories of a trained model, at once."""

import argparse

from p5mm.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm update``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "--interactions", required=True, metavar="FILE",
        help="table with user_id, item_id, and timestamp and rating where the log has them",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Let the users of a model have taken more."""
    from p5mm.serving.upkeep.update import update_model

    say(f"{options.model}: {update_model(options.model, options.interactions)}")
