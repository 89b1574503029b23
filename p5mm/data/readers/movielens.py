"""MovieLens folders of every age."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.raw_file import FORMS, check_text, read_bytes
from p5mm.data.readers.source import Data, Source
from p5mm.data.tables import read_table
from p5mm.data.text_tables import read_delimited
from p5mm.errors import InputError

Movie = tuple[str, str, list[str]]  # id, title, genres


def read_movielens(source: Source) -> Data:
    """MovieLens: 100K (u.data, u.item), 1M and 10M (.dat), 20M and later (.csv).

    Titles, genres and plots come from items.tsv where it is beside them.
    """
    log = source.interactions or source.file("u.data", "ratings.dat", "ratings.csv")
    log = source.needed(log, "MovieLens log", "u.data, ratings.dat or ratings.csv", "interactions")
    movies = source.catalog or source.table("items") or source.file("u.item", "movies.dat")
    movies = source.needed(
        movies or source.file("movies.csv"),
        "MovieLens catalog",
        "items.tsv, u.item, movies.dat or movies.csv",
        "catalog",
    )
    catalog = Catalog.from_table(_movies(movies), source.pictures, source.text, f"{movies}")
    return catalog, Interactions.from_table(_movie_ratings(log), f"interactions {log}")


def _movie_ratings(path: Path) -> pa.Table:
    if path.suffix in {*FORMS, ".gz"}:
        return _renamed(read_table(path))
    data = bytes(read_bytes(path)).replace(b"::", b"\t")
    check_text(data, path)
    return read_delimited(data, path, "\t", ["user_id", "item_id", "rating", "timestamp"])


def _movies(path: Path) -> pa.Table:
    """Movies with their genres as lists."""
    if path.suffix in {*FORMS, ".gz"}:
        table = _renamed(read_table(path))
        if "genres" in table.column_names and pa.types.is_string(table["genres"].type):
            place = table.column_names.index("genres")
            table = table.set_column(place, "genres", pc.split_pattern(table["genres"], "|"))
        return table
    data = bytes(read_bytes(path))
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        lines = data.decode("latin-1").split("\n")
    places = [
        (line.rstrip("\r"), f"{path}: line {n}") for n, line in enumerate(lines, 1) if line.strip()
    ]
    if path.suffix == ".dat":
        movies = [_named(line, where) for line, where in places]
    else:
        genres_of = _genre_names(path.parent / "u.genre")
        movies = [_flagged(line, where, genres_of) for line, where in places]
    ids, titles, genres = zip(*movies, strict=True)
    return pa.table({"item_id": list(ids), "title": list(titles), "genres": list(genres)})


def _renamed(table: pa.Table) -> pa.Table:
    new = {"userId": "user_id", "movieId": "item_id"}
    return table.rename_columns([new.get(name, name) for name in table.column_names])


def _genre_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text("utf-8", "replace").splitlines()
    return [line.split("|")[0] for line in lines if line.strip()]


def _named(line: str, where: str) -> Movie:
    """A line of movies.dat: id::title::genre|genre."""
    item, _, rest = line.partition("::")
    title, _, genres = rest.rpartition("::")
    if not title:
        raise InputError(f"{where} is not of the form id::title::genre|genre: {line[:60]!r}")
    return item, title, genres.split("|")


def _flagged(line: str, where: str, names: list[str]) -> Movie:
    """A line of u.item: id|title|date|video|url and a flag for each genre."""
    cells = line.split("|")
    if not names or len(cells) != 5 + len(names):
        raise InputError(
            f"{where} has {len(cells)} cells; id|title|date|video|url and a flag for each of the "
            f"{len(names)} genres of u.genre are expected"
        )
    flags = zip(names, cells[5:], strict=True)
    return cells[0], cells[1], [name for name, flag in flags if flag == "1" and name != "unknown"]
