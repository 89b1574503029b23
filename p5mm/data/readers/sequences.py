"""The 5-core sequence files of S3-Rec, P5 and TIGER."""

from pathlib import Path

import pyarrow as pa

from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.raw_file import check_text, read_bytes
from p5mm.data.readers.source import Data, Source
from p5mm.errors import InputError

_FILES = ("sequential_data.txt", "sequential.txt")


def read_sequences(source: Source) -> Data:
    """A "user item item ..." file, as S3-Rec, P5 and TIGER have, and items.* where there is one."""
    log = read_sequence_file(source.interactions or sequence_file(source))
    catalog = source.catalog or source.table("items", "catalog")
    if catalog is not None:
        return source.read_catalog(catalog), log
    bare = pa.table({"item_id": sorted(log.item_ids)})
    return Catalog.from_table(bare, source.pictures, source.text), log


def read_sequence_file(path: Path) -> Interactions:
    """The log of a "user item item ..." file; the place in the line is the time.

    Raises:
        InputError: A user has two lines, or no line has items.
    """
    data = bytes(read_bytes(path))
    check_text(data, path)
    users: list[str] = []
    items: list[str] = []
    places: list[int] = []
    first: dict[str, int] = {}
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        user, *taken = line.split() or [""]
        if not taken:
            continue
        if first.setdefault(user, number) != number:
            raise InputError(f"{path}: user {user!r} is in lines {first[user]} and {number}")
        users += [user] * len(taken)
        items += taken
        places += range(len(taken))
    if not items:
        raise InputError(f"{path} has no line of the form 'user item item ...'")
    table = pa.table({"user_id": users, "item_id": items, "timestamp": places})
    return Interactions.from_table(table, f"interactions {path}")


def sequence_file(source: Source) -> Path:
    """The sequence file below root.

    Raises:
        InputError: There is none, or one of several would have to be chosen.
    """
    if named := source.file(*_FILES):
        return named
    texts = sorted(source.root.glob("*.txt")) if source.root else []
    files = [path for path in texts if is_sequences(path)]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise InputError(
            f"several sequence files are in {source.root}: {names}; name one with "
            f"interactions: {files[0].name}"
        )
    names = "sequential_data.txt, sequential.txt or another .txt of lines 'user item item ...'"
    return source.needed(files[0] if files else None, "sequence file", names, "interactions")


def is_sequences(path: Path) -> bool:
    """Whether a file begins with lines of numbers, and is no list of negative samples."""
    if "negative" in path.name or "sample" in path.name:
        return False
    with path.open("rb") as file:
        lines = [line.split() for line in file.read(1 << 16).splitlines()[:3]]
    numbers = all(word.isdigit() for line in lines for word in line)
    return numbers and any(len(line) > 1 for line in lines)
