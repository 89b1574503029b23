"""Readers of the data sets that the field uses: each gives a catalog and a log."""

from collections.abc import Callable

from p5mm.data.raw_file import FORMS
from p5mm.data.readers.movielens import read_movielens
from p5mm.data.readers.p5 import read_p5
from p5mm.data.readers.sequences import is_sequences, read_sequences
from p5mm.data.readers.source import Data, Source
from p5mm.data.readers.tables import read_tables

READERS: dict[str, Callable[[Source], Data]] = {
    "movielens": read_movielens,
    "p5": read_p5,
    "sequences": read_sequences,
    "tables": read_tables,
}


def detect(source: Source) -> str | None:
    """The name of the reader for what is below root; None if nothing is known there."""
    log = source.interactions
    if log is not None:
        return "tables" if log.suffix in {*FORMS, ".gz"} else "sequences"
    if source.file("u.data", "ratings.dat") or (
        source.file("ratings.csv") and source.file("movies.csv")
    ):
        return "movielens"
    if source.file("datamaps.json") and source.file("sequential_data.txt"):
        return "p5"
    if source.table("interactions", "ratings"):
        return "tables"
    texts = source.root.glob("*.txt") if source.root else ()
    return "sequences" if any(is_sequences(path) for path in texts) else None
