"""Recommend items to users: a table of user, item, score and rank."""

import argparse
from functools import partial
from pathlib import Path

from p5mm.commands.options import add_engine, add_limits, item_list
from p5mm.commands.output import add_force, long_target, write_job

COLUMNS = ("user_id", "item_id", "score", "rank")
NOBODY = (
    "nobody could be recommended anything: all users are unknown, or nothing is left that they may "
    "get; see the warnings above"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm recommend``."""
    parser.add_argument("model", help="folder of the model, or of one that p5mm export wrote")
    parser.add_argument(
        "--runtime", metavar="RUNTIME",
        help="what runs the networks: torch, or onnx (onnxruntime; extra 'onnx'). By default torch "
        "runs a model, onnxruntime what p5mm export wrote",
    )  # fmt: skip
    parser.add_argument(
        "--users", required=True, metavar="FILE|FOLDER|all",
        help="table with user_id, or a folder of Parquet files; history (lists of item ids) for "
        "new users; allow and deny (lists of item ids) for what each may get",
    )  # fmt: skip
    parser.add_argument("-k", "--k", type=int, default=10, help="items a user (default: 10)")
    parser.add_argument(
        "--out", required=True, metavar="FILE|FOLDER",
        help="table to write: .parquet, .csv or .jsonl; without a suffix a folder of Parquet parts",
    )  # fmt: skip
    add_limits(parser)
    parser.add_argument("--keep-seen", action="store_true", help="also what a user has taken")
    parser.add_argument(
        "--strict", action="store_true", help="fail where a user or an item is unknown"
    )
    add_engine(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Recommend to all users of the log, or to those of a table."""
    from p5mm.cluster import Cluster
    from p5mm.portable.recommender import open_recommender
    from p5mm.serving.bulk import Wanted, recommend_job, users_of
    from p5mm.serving.limits import Limits

    cluster = Cluster.of(options.engine, options.modules)
    target = long_target(options.out, COLUMNS, options.force)
    opened = partial(open_recommender, runtime=options.runtime)
    recommender = opened(Path(options.model))
    users = users_of(options.users, recommender)
    limits = Limits(
        item_list(options.allow),
        item_list(options.deny) or (),
        where=options.where,
    )
    wanted = Wanted(options.k, not options.keep_seen, limits, options.strict)
    asked, work = recommend_job(recommender, users, Path(options.model), wanted, opened)
    told = ("recommend", "user")
    write_job(target, users, asked, work, told, options.force, NOBODY, cluster)
