"""Recommend items to users: a table of user, item, score and rank."""

import argparse
from dataclasses import dataclass, field

from p5mm.commands.output import add_force, table_target, write_table
from p5mm.errors import InputError, shown
from p5mm.terminal import say

ALL = "all"
COLUMNS = ("user_id", "item_id", "score", "rank")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm recommend``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "--users", required=True, metavar="FILE|all",
        help="table with user_id; history (lists of item ids) for new users; allow and deny (lists "
        "of item ids) for what each may get",
    )  # fmt: skip
    parser.add_argument("-k", "--k", type=int, default=10, help="items a user (default: 10)")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="table to write: .parquet, .csv or .jsonl"
    )
    parser.add_argument(
        "--allow", metavar="FILE", help="table with item_id: the only items that anybody may get"
    )
    parser.add_argument(
        "--deny", metavar="FILE", help="table with item_id: items that nobody may get"
    )
    parser.add_argument("--keep-seen", action="store_true", help="also what a user has taken")
    parser.add_argument(
        "--strict", action="store_true", help="fail where a user or an item is unknown"
    )
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Recommend to all users of the log, or to those of a file."""
    from p5mm.serving.limits import Limits
    from p5mm.serving.recommender import Recommender

    target = table_target(options.out, COLUMNS, options.force)
    recommender = Recommender.load(options.model)
    asked = _Asked() if options.users == ALL else _users(options.users)
    table = recommender.recommend(
        asked.names,
        histories=asked.histories,
        k=options.k,
        filter_seen=not options.keep_seen,
        limits=Limits(
            None if options.allow is None else _items(options.allow),
            () if options.deny is None else _items(options.deny),
            asked.allow,
            asked.deny,
        ),
        strict=options.strict,
    )
    write_table(table, target)
    say(f"{target}: {table.num_rows} rows")


@dataclass(frozen=True)
class _Asked:
    """Who asks: names, histories (None among them means the log's), and what each may get."""

    names: list[str] | None = None
    histories: list[list[str] | None] | None = None
    allow: dict[str, list[str]] = field(default_factory=dict)
    deny: dict[str, list[str]] = field(default_factory=dict)


def _users(file: str) -> _Asked:
    """Users of a table."""
    from p5mm.data.history_column import read_histories
    from p5mm.data.tables import id_column, read_table, with_known_names

    table = with_known_names(read_table(file), file, ["user_id", "history", "allow", "deny"])
    names: list[str] = id_column(table, file, "user_id").to_pylist()
    lists = {
        name: read_histories(table[name], file, name) if name in table.column_names else None
        for name in ("history", "allow", "deny")
    }
    each = {name: _each(file, names, lists[name], name) for name in ("allow", "deny")}
    return _Asked(names, lists["history"], each["allow"], each["deny"])


def _each(
    file: str, names: list[str], lists: list[list[str] | None] | None, column: str
) -> dict[str, list[str]]:
    """The list of each user who has one."""
    found: dict[str, list[str]] = {}
    for name, ids in zip(names, lists or [None] * len(names), strict=True):
        if ids is not None and found.setdefault(name, ids) != ids:
            raise InputError(
                f"{file}: the user '{shown(name)}' stands there twice with another '{column}'; "
                "give each name one list"
            )
    return found


def _items(file: str) -> list[str]:
    from p5mm.data.tables import id_column, read_table, with_known_names

    table = with_known_names(read_table(file), file, ["item_id"])
    ids: list[str] = id_column(table, file, "item_id").to_pylist()
    return ids
