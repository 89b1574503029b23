"""The config.json of an index: which segments make it, and what is in them."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from p5mm.errors import InputError, unknown
from p5mm.plain import check_type, read_json, reading
from p5mm.retrieval.tuning import check_kind

KIND = "p5mm catalog index"
FORMAT = 3
TOWERS, JOINT = ("image", "text"), "joint"
VIEWS = (*TOWERS, JOINT)
REMEDY = "delete the folder and index again: known vectors come from the feature store"
DIGITS = 6  # of a segment's name


@dataclass(frozen=True)
class Made:
    """The vectors of a modality: what made them, and how many items have one."""

    spec: str
    fingerprint: str
    dim: int
    items: int


@dataclass(frozen=True)
class Segment:
    """A folder of items in which at most the stamps change.

    Attributes:
        name: Of the folder: six digits, in the order of their making.
        items: How many are in it.
        deleted: How many of them are items of the index no longer.
        views: The vector indexes in it.
    """

    name: str
    items: int
    deleted: int
    views: tuple[str, ...]

    @property
    def live(self) -> int:
        """How many of its items are items of the index."""
        return self.items - self.deleted


@dataclass(frozen=True)
class Manifest:
    """What a config.json says.

    Attributes:
        items: Of the index: those of the segments that are not deleted.
        quarantined: Values in quarantine.
        aligned: Whether pictures and texts were aligned.
        index_kind: What its views are: auto, another name, or the memory that they may take.
        encoders: Modality to what made its vectors.
        segments: In the order of their rows.
    """

    items: int
    quarantined: int
    aligned: bool
    index_kind: str
    encoders: Mapping[str, Made]
    segments: tuple[Segment, ...]

    @property
    def next_name(self) -> str:
        """A name behind those of all segments.

        Raises:
            InputError: There is none.
        """
        last = max((int(segment.name) for segment in self.segments), default=0)
        if last + 1 >= 10**DIGITS:
            raise InputError("no number is left for a new segment; type: p5mm compact INDEX")
        return f"{last + 1:0{DIGITS}}"

    def write(self, path: Path) -> None:
        """Write it.

        Raises:
            OSError: It cannot be written.
        """
        about = {"kind": KIND, "format": FORMAT, **asdict(self)}
        path.write_text(json.dumps(about, indent=2) + "\n")


def is_index(folder: str | Path) -> bool:
    """Whether a folder is a catalog index of any format."""
    try:
        return read_json(Path(folder) / "config.json", REMEDY).get("kind") == KIND
    except InputError:
        return False


def check_not_newer(folder: str | Path) -> None:
    """Refuse an index that a newer p5mm has written: it is neither read nor replaced.

    Raises:
        InputError: It is one.
    """
    if is_index(folder):
        number = read_json(Path(folder) / "config.json", REMEDY).get("format")
        if isinstance(number, int) and number > FORMAT:
            raise InputError(
                f"{folder} was written by a newer p5mm, in format {number}; this one reads format "
                f"{FORMAT}. Install that p5mm, or give another folder"
            )


def kind_of(folder: str | Path) -> str:
    """What the views of an index are, as far as it says so, however damaged; auto where not."""
    with suppress(InputError):
        about = read_json(Path(folder) / "config.json", REMEDY)
        check_type(about.get("index_kind"), str, "index_kind")
        check_kind(about["index_kind"])
        return str(about["index_kind"])
    return "auto"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index, checked.

    Raises:
        InputError: The folder is no index, or its config.json is of another format or damaged.
    """
    if not is_index(folder):
        raise InputError(
            f"{folder} is no index of p5mm; make one: p5mm index CATALOG --out {folder}"
        )
    check_not_newer(folder)
    path = folder / "config.json"
    about = read_json(path, REMEDY)
    with reading(path, REMEDY):
        if about.get("format") != FORMAT:
            told = str(about.get("format"))[:20]
            raise InputError(f"it has format {told}; this p5mm reads {FORMAT}")
        given = {name: value for name, value in about.items() if name not in ("kind", "format")}
        check_type(given, Manifest, "it")
        return _checked(given)


def _checked(given: Mapping[str, Any]) -> Manifest:
    check_kind(given["index_kind"])
    segments = tuple(
        Segment(**{**values, "views": tuple(values["views"])}) for values in given["segments"]
    )
    names = [segment.name for segment in segments]
    for segment in segments:
        if len(segment.name) != DIGITS or not (segment.name.isascii() and segment.name.isdigit()):
            raise InputError(f"a segment is called '{segment.name[:80]}', not six digits")
        if not 0 <= segment.deleted < segment.items:
            raise InputError(f"{segment.deleted} of {segment.items} items are deleted")
        for view in segment.views:
            if view not in VIEWS:
                raise unknown("view", view[:80], VIEWS)
    live = sum(segment.live for segment in segments)
    if names != sorted(set(names)) or not names or live != given["items"]:
        raise InputError(f"items is {given['items']}, and {live} are in its segments")
    encoders = {name: Made(**values) for name, values in given["encoders"].items()}
    if not encoders:
        raise InputError("it names no encoder")
    return Manifest(**{**given, "encoders": encoders, "segments": segments})
