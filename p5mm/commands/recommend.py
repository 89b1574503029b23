"""Recommend items to users: a table of user, item, score and rank."""

import argparse
from typing import TYPE_CHECKING

from p5mm.commands.output import add_force, table_target, write_table
from p5mm.commands.terminal import say

if TYPE_CHECKING:
    pass

ALL = "all"
COLUMNS = ("user_id", "item_id", "score", "rank")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm recommend``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "--users", required=True, metavar="FILE|all",
        help="table with user_id, and history (lists of item ids) for new users",
    )  # fmt: skip
    parser.add_argument("-k", "--k", type=int, default=10, help="items a user (default: 10)")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="table to write: .parquet, .csv or .jsonl"
    )
    parser.add_argument("--keep-seen", action="store_true", help="also what a user has taken")
    parser.add_argument(
        "--strict", action="store_true", help="fail where a user or an item is unknown"
    )
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Recommend to all users of the log, or to those of a file."""
    from p5mm.serving.recommender import Recommender

    target = table_target(options.out, COLUMNS, options.force)
    recommender = Recommender.load(options.model)
    names, histories = (None, None) if options.users == ALL else _users(options.users)
    table = recommender.recommend(
        names,
        histories=histories,
        k=options.k,
        filter_seen=not options.keep_seen,
        strict=options.strict,
    )
    write_table(table, target)
    say(f"{target}: {table.num_rows} rows")


def _users(file: str) -> tuple[list[str], list[list[str] | None] | None]:
    """Users of a table, and their histories where it has them; None means the log's."""
    from p5mm.data.history_column import read_histories
    from p5mm.data.tables import id_column, read_table, with_known_names

    table = with_known_names(read_table(file), file, ["user_id", "history"])
    names: list[str] = id_column(table, file, "user_id").to_pylist()
    if "history" not in table.column_names:
        return names, None
    return names, read_histories(table["history"], file)
