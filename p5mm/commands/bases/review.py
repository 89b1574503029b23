"""Write headlines: of reviews that a base reads, or of those that a model's users would write."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5mm.commands.output import add_force, table_target, write_table
from p5mm.errors import InputError, counted
from p5mm.terminal import say

if TYPE_CHECKING:
    import pyarrow as pa

    from p5mm.model.base import Base

KEPT = ("user_id", "item_id")  # columns that are written again


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm review``."""
    parser.add_argument(
        "model",
        help="folder of a base that was pretrained with --reviews, or of a model that was trained "
        "on the task review",
    )
    parser.add_argument(
        "table",
        help="for a base, a table with review; for a model, with item_id, and user_id or history",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="table to write: .parquet, .csv or .jsonl"
    )
    parser.add_argument(
        "--beams", type=int, default=4, metavar="N",
        help="headlines that are followed at once; 1 takes the likeliest word (default: 4)",
    )  # fmt: skip
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Write a headline of each row, in the same order; of a base's also the stars."""
    from p5mm.data.tables import read_table, with_known_names
    from p5mm.model.base import is_base, read_base
    from p5mm.serving.folder import is_model
    from p5mm.serving.recommender import Recommender

    folder = Path(options.model)
    target = table_target(options.out, (), options.force, (*KEPT, "headline", "stars"))
    if options.beams < 1:
        raise InputError(f"--beams is {options.beams}; give 1 or more")
    if is_base(folder):
        what = f"reviews {options.table}"
        table = with_known_names(read_table(options.table), what, ("review", *KEPT))
        made = reviewed(read_base(folder), table, options.beams, what)
    elif is_model(folder):
        recommender = Recommender.load(folder)
        table = recommender.headlines(read_table(options.table), options.beams, strict=False)
        made = table.select([name for name in (*KEPT, "headline") if name in table.column_names])
    else:
        raise InputError(
            f"{folder} is neither a base nor a model; p5mm pretrain ... --reviews FILE makes the "
            "one, p5mm train ... the other"
        )
    write_table(made, target)
    say(f"{target}: {counted(made.num_rows, 'row')}")


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
