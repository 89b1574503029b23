"""Let text find pictures: train two small heads on the index's own pairs."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm align``."""
    parser.add_argument("index", help="folder of the index")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")


def run(options: argparse.Namespace) -> None:
    """Add to an index the joint view in which text finds pictures."""
    from p5mm.indexing.build import align_index

    align_index(options.index, options.seed)
