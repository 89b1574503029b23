"""The items of some shards: files of one key are one item's."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from p5mm.data.pictures import SUFFIXES, Pictures, several
from p5mm.data.shards.members import Damage, Member, members, tars_in
from p5mm.data.text_tables import read_jsonl
from p5mm.encoders.values.part import FilePart
from p5mm.errors import InputError, shown

MOST_TEXT = 1 << 20  # bytes of a .txt or .json
TOLD = 5
_OWN = ("item_id", "image", "more_images")  # names of columns that no .json may give
_log = logging.getLogger(__name__)


@dataclass
class _Item:
    shard: Path
    pictures: dict[str, FilePart] = field(default_factory=dict)
    texts: dict[str, FilePart] = field(default_factory=dict)  # by suffix, txt or json
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ShardItems:
    """What some shards hold.

    Attributes:
        table: ``item_id``, ``text`` where there is a .txt, and the fields of the .json.
        has_text: Whether the column ``text`` is there because of a .txt.
        names: The pictures of each item, by shard and name.
        pictures: Where they are; None where an item has none.
        quarantine: ``(item_id, reason)`` of files that are refused.
    """

    table: pa.Table
    has_text: bool
    names: list[list[str]]
    pictures: list[Pictures | None]
    quarantine: tuple[tuple[str, str], ...]


def read_shards(shards: Sequence[Path]) -> ShardItems:
    """The items of shards; pictures are looked up, not read.

    Raises:
        InputError: One is no tar, a key is in two of them, or the .json do not fit in one table.
    """
    found = _Found()
    for shard in shards:
        for member in members(shard):
            found.add(member, shard)
    found.tell()
    if not found.items:
        raise InputError(
            f"no item is in {shards[0]}{' and the like' if shards[1:] else ''}; shards have "
            "members KEY.jpg (or .png, .webp ...), KEY.txt, KEY.json"
        )
    table, has_text = _table(found.items, shards[0])
    return ShardItems(
        table,
        has_text,
        [[f"{i.shard.name}/{part.name}" for part in i.pictures.values()] for i in found],
        [several(list(item.pictures.values())) for item in found],
        tuple((key, reason) for key, item in found.items.items() for reason in item.refused),
    )


def pictures_named(names: Sequence[str], shards: Path) -> dict[str, FilePart]:
    """The pictures of some names, as `ShardItems` has them, in a tar or a folder of tars."""
    wanted, found = set(names), dict[str, FilePart]()
    for shard in tars_in(shards) if shards.is_dir() else [shards]:
        if any(name.startswith(f"{shard.name}/") for name in wanted):
            for member in members(shard):
                if isinstance(member, Member) and not member.refused:
                    name = f"{shard.name}/{member.part.name}"
                    if name in wanted:
                        found[name] = member.part
    return found


class _Found:
    """Items by their keys, as members come."""

    def __init__(self) -> None:
        self.items: dict[str, _Item] = {}
        self.damages: list[str] = []
        self.others: Counter[str] = Counter()

    def __iter__(self) -> Any:
        return iter(self.items.values())

    def add(self, member: Member | Damage, shard: Path) -> None:
        """One member more.

        Raises:
            InputError: Its key is that of an item of another shard.
        """
        if isinstance(member, Damage):
            self.damages.append(member.what)
            return
        kind = f".{member.suffix.rpartition('.')[2]}"
        if kind not in SUFFIXES and member.suffix not in ("txt", "json"):
            self.others[kind] += 1
            return
        item = self.items.setdefault(member.key, _Item(shard))
        if item.shard != shard:
            raise InputError(
                f"the key '{shown(member.key[:200])}' is in {item.shard} and in {shard}; keys are "
                "the items' ids: give each item another, or give the shards one by one"
            )
        if member.refused:
            item.refused.append(shown(member.refused))
        elif kind in SUFFIXES:
            item.pictures[member.suffix] = member.part  # of two of a name the later, as unpacked
        else:
            item.texts[member.suffix] = member.part

    def tell(self) -> None:
        """Say what is left out."""
        for damage in self.damages[:TOLD]:
            _log.warning("%s", shown(damage))
        if len(self.damages) > TOLD:
            _log.warning("and %d more like these", len(self.damages) - TOLD)
        if self.others:
            kinds = ", ".join(f"{n:,} {shown(kind[:20])}" for kind, n in self.others.most_common(5))
            _log.info("files of other kinds in shards are passed over: %s", kinds)


def _table(items: dict[str, _Item], shard: Path) -> tuple[pa.Table, bool]:
    has_text = any("txt" in item.texts for item in items.values())
    lines, told = [], False
    for key, item in items.items():
        row: dict[str, Any] = {"item_id": key}
        for suffix, part in item.texts.items():
            try:
                row |= (fields := _read(suffix, part, has_text))
                told |= suffix == "txt" and bool(fields)
            except (ValueError, OSError, RecursionError) as error:
                name = f"{part.archive.path.name}/{part.name[:200]}"
                item.refused.append(shown(f"'{name}' cannot be used: {str(error)[:200]}"))
        lines.append(json.dumps(row))
    return read_jsonl("\n".join(lines).encode(), shard), told


def _read(suffix: str, part: FilePart, has_text: bool) -> dict[str, Any]:
    """The columns that a .txt or a .json gives.

    Raises:
        ValueError: It is too long, not UTF-8, or no JSON object.
        OSError: It cannot be read.
    """
    if part.size > MOST_TEXT:
        raise ValueError(f"{part.size:,} bytes are more than {MOST_TEXT:,}")
    text = part.read().decode("utf-8-sig")
    if suffix == "txt":
        return {"text": text.strip()} if text.strip() else {}
    fields = json.loads(text, parse_constant=_no_number, parse_int=_integer)
    if not isinstance(fields, dict):
        raise ValueError("no JSON object")
    own = {*_OWN, "text"} if has_text else set(_OWN)
    kept = {name: value for name, value in fields.items() if name not in own and _is_flat(value)}
    json.dumps(kept, ensure_ascii=False).encode()  # a broken letter is a ValueError
    return kept


def _is_flat(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return not any(isinstance(one, list | dict) for one in values)


def _integer(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"the number {digits[:30]} has more than 64 bits")
    return number


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
