"""Delete items of an index or a model, at once; compact gives the room of an index back."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from p5mm.terminal import say

if TYPE_CHECKING:
    from p5mm.indexing.deletion import Deletion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm delete``."""
    parser.add_argument("folder", help="folder of an index or of a model")
    parser.add_argument("item", nargs="*", metavar="ID", help="an item; each must be there")
    parser.add_argument(
        "--ids", metavar="FILE",
        help="table with a column item_id, or a text file with an id a line; what is no item is "
        "passed over",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Take items out of an index, or let a model serve them no more."""
    from p5mm.errors import InputError, counted, shown

    if bool(options.item) == (options.ids is not None):
        raise InputError("name the items: ID [ID ...], or a list of them with --ids FILE")
    item_ids = options.item or _listed(options.ids)
    what, delete = _deleting(options.folder)
    done = delete(options.folder, item_ids, options.ids is None)
    if done.unknown:
        some = ", ".join(shown(item[:80]) for item in done.unknown[:5])
        ids = counted(len(done.unknown), "id is no item", "ids are no items")
        say(f"{ids} of the {what}: {some}")
    say(f"{options.folder}: {done.deleted:,} deleted, {done.left:,} left")


def _deleting(folder: str) -> "tuple[str, Callable[[str, list[str], bool], Deletion]]":
    """What is in a folder, and what deletes items of it.

    Raises:
        InputError: Nothing can be deleted there.
    """
    from p5mm.commands.upkeep.status import kind_of
    from p5mm.errors import InputError

    kind = kind_of(folder)
    if kind == "index":
        from p5mm.indexing.deletion import delete_items

        return kind, delete_items
    if kind == "model":
        from p5mm.serving.upkeep.deletion import delete_from_model

        return kind, delete_from_model
    advice = {
        "base": "a base knows no items",
        "export": "delete them from the model, and p5mm export it again",
    }
    raise InputError(f"{folder} is neither an index nor a model of p5mm: {advice[kind]}")


def _listed(path: str) -> list[str]:
    """The ids in a file: of a table those of its column item_id, else every line one."""
    from pathlib import Path

    from p5mm.data.raw_file import FORMS, check_text, read_bytes
    from p5mm.data.tables import id_column, read_table, with_known_names

    if Path(path.removesuffix(".gz")).suffix.lower() in FORMS:
        table = with_known_names(read_table(path), path, ["item_id"])
        listed: list[str] = id_column(table, path, "item_id").to_pylist()
        return listed
    data = bytes(read_bytes(Path(path)))
    check_text(data, Path(path))
    lines = data.decode("utf-8-sig").split("\n")
    return [line.removesuffix("\r") for line in lines if line.strip()]
