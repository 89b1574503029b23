"""Join new interactions to the histories of a trained model; its weights learn on on request."""

import argparse

from p5mm.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm update``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "--interactions",
        metavar="FILE",
        help="table with user_id, item_id, and timestamp and rating where the log has them",
    )
    parser.add_argument(
        "--epochs", type=int, default=0, metavar="N",
        help="then let the retriever learn on from its weights, N passes at most (default: 0, "
        "histories alone change)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Let the users of a model have taken more, and the model learn it on request."""
    from p5mm.errors import InputError
    from p5mm.serving.upkeep.update import continue_model, update_model

    if options.epochs < 0:
        raise InputError(f"--epochs is {options.epochs}; give 0 or more")
    if options.interactions is None and not options.epochs:
        raise InputError("nothing is asked for: give --interactions FILE, --epochs N, or both")
    if options.interactions is not None:
        say(f"{options.model}: {update_model(options.model, options.interactions)}")
    if options.epochs:
        continue_model(options.model, options.epochs)
        say(f"{options.model}: pairs, weights of the score and index are of all that users took")
