"""Write an index as one segment, without what is deleted: its room comes back."""

import argparse

from p5mm.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm compact``."""
    parser.add_argument("index", help="folder of the index")


def run(options: argparse.Namespace) -> None:
    """Merge the segments of an index."""
    from pathlib import Path

    from p5mm.commands.upkeep.status import sized
    from p5mm.indexing.deletion import compact_index
    from p5mm.indexing.status import bytes_in

    before = bytes_in(Path(options.index))
    compact_index(options.index)
    say(f"{options.index}: {sized(before)} before, {sized(bytes_in(Path(options.index)))} now")
