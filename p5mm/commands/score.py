"""Score pairs of a user and an item."""

import argparse

from p5mm.commands.terminal import say, writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm score``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("pairs", help="table with item_id, and user_id or history")
    parser.add_argument("--out", required=True, metavar="FILE", help="Parquet to write")


def run(options: argparse.Namespace) -> None:
    """Score pairs of a user (or a history) and an item, in the same order."""
    import pyarrow.parquet as pq

    from p5mm.data.tables import read_table
    from p5mm.files import whole_file
    from p5mm.serving.recommender import Recommender

    target = writable(options.out)
    recommender = Recommender.load(options.model)
    table = recommender.score(read_table(options.pairs))
    with whole_file(target) as draft:
        pq.write_table(table, draft)
    say(f"{target}: {table.num_rows} rows")
