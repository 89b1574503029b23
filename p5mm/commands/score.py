"""Score pairs of a user and an item."""

import argparse

from p5mm.commands.output import add_force, table_target, write_table
from p5mm.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm score``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("pairs", help="table with item_id, and user_id or history")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="table to write: .parquet, .csv or .jsonl"
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail where a user or an item is unknown"
    )
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Score pairs of a user (or a history) and an item, in the same order."""
    from p5mm.data.tables import read_table
    from p5mm.serving.recommender import Recommender

    target = table_target(options.out, ("item_id", "score"), options.force)
    recommender = Recommender.load(options.model)
    table = recommender.score(read_table(options.pairs), options.strict)
    write_table(table, target)
    say(f"{target}: {table.num_rows} rows")
