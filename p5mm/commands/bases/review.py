"""Read reviews with a base: a headline of each, and how many stars it gives."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from p5mm.commands.output import add_force, table_target, write_table
from p5mm.errors import InputError
from p5mm.terminal import say

if TYPE_CHECKING:
    import pyarrow as pa

    from p5mm.model.base import Base

KEPT = ("user_id", "item_id")  # columns that are written again


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm review``."""
    parser.add_argument("base", help="folder of a base that was pretrained with --reviews")
    parser.add_argument("reviews", help="table with review")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="table to write: .parquet, .csv or .jsonl"
    )
    parser.add_argument(
        "--beams", type=int, default=4, metavar="N",
        help="headlines that are followed at once; 1 takes the likeliest word (default: 4)",
    )  # fmt: skip
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Write a headline and the stars of each review, in the same order."""
    from p5mm.data.tables import read_table, with_known_names
    from p5mm.model.base import read_base

    target = table_target(options.out, (), options.force, (*KEPT, "headline", "stars"))
    what = f"reviews {options.reviews}"
    table = with_known_names(read_table(options.reviews), what, ("review", *KEPT))
    made = reviewed(read_base(options.base), table, options.beams, what)
    write_table(made, target)
    say(f"{target}: {made.num_rows} rows")


def reviewed(base: "Base", table: "pa.Table", width: int, what: str) -> "pa.Table":
    """What a base writes of reviews: ``headline`` and ``stars``, as far as it has learned them.

    A review without words has neither.

    Args:
        base: Pretrained with reviews.
        table: With a column ``review``; ``user_id`` and ``item_id`` are kept.
        width: Beams.
        what: Name of the table in messages.

    Raises:
        InputError: The base knows nothing of reviews, or there is none in the table.
    """
    import pyarrow as pa

    from p5mm.data.columns import require_columns, text_column
    from p5mm.pretraining.reading import HEADLINE, STARS, Reading

    if not {HEADLINE, STARS} & set(base.words):
        raise InputError(
            "this base has read no reviews; pretrain one with p5mm pretrain ... --reviews FILE"
        )
    if width < 1:
        raise InputError(f"--beams is {width}; give 1 or more")
    require_columns(table, what, ["review"])
    texts = [text or "" for text in text_column(table, what, "review").to_pylist()]
    made = table.select([name for name in KEPT if name in table.column_names])
    reading = Reading(base.t5.eval(), base.tokenizer, base.levels)
    rows = [row for row, text in enumerate(texts) if text.strip()]
    worded = [texts[row] for row in rows]
    if HEADLINE in base.words:
        made = made.append_column(
            HEADLINE, _placed(reading.headlines(worded, width), rows, len(texts), pa.string())
        )
    if STARS in base.words and base.levels:
        made = made.append_column(
            STARS, _placed(reading.stars(worded).tolist(), rows, len(texts), pa.float32())
        )
    return made


def _placed(
    values: Sequence[Any], rows: Sequence[int], count: int, kind: "pa.DataType"
) -> "pa.Array":
    """A column of values at some rows and nothing at the others."""
    import pyarrow as pa

    found = dict(zip(rows, values, strict=True))
    return pa.array([found.get(row) for row in range(count)], kind)
