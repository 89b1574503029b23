"""Score pairs of a user and an item."""

import argparse
from pathlib import Path

from p5mm.commands.options import add_engine
from p5mm.commands.output import add_force, long_target, write_job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm score``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "pairs", help="table with item_id, and user_id or history; or a folder of Parquet files"
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE|FOLDER",
        help="table to write: .parquet, .csv or .jsonl; without a suffix a folder of Parquet parts",
    )  # fmt: skip
    parser.add_argument(
        "--strict", action="store_true", help="fail where a user or an item is unknown"
    )
    add_engine(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Score pairs of a user (or a history) and an item, in the same order."""
    from p5mm.cluster import Cluster
    from p5mm.serving.bulk import score_job
    from p5mm.serving.long_table import LongTable
    from p5mm.serving.recommender import Recommender

    cluster = Cluster.of(options.engine, options.modules)
    target = long_target(options.out, ("item_id", "score"), options.force)
    recommender = Recommender.load(options.model)
    pairs = LongTable.open(options.pairs)
    asked, work = score_job(recommender, pairs, Path(options.model), options.strict)
    write_job(target, pairs, asked, work, ("score", "pair"), options.force, cluster=cluster)
