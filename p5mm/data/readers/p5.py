"""The data folder of P5 and VIP5."""

import ast
import gzip
import json
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.raw_file import read_bytes
from p5mm.data.readers.sequences import read_sequence_file, sequence_file
from p5mm.data.readers.source import Data, Source
from p5mm.errors import InputError, shown

_log = logging.getLogger(__name__)
_ASIN = re.compile(r"""['"]asin['"]\s*:\s*['"]([^'"]+)['"]""")
_TEXTS = ("title", "brand", "description")
_LINE = 1 << 24  # letters of a product; the rest of a longer line is no product


def read_p5(source: Source) -> Data:
    """The data folder of P5 and VIP5; ids are the users' and products' own (ASIN).

    It has sequential_data.txt, datamaps.json and, for titles, meta.json.gz.
    """
    path = source.needed(source.file("datamaps.json"), "P5 id map", "datamaps.json", "interactions")
    maps = _json(path)
    users, items = (_names(maps, kind, path) for kind in ("user", "item"))
    log = read_sequence_file(source.interactions or sequence_file(source)).table
    log = log.set_column(0, "user_id", pa.array([users.get(u, u) for u in log[0].to_pylist()]))
    log = log.set_column(1, "item_id", pa.array([items.get(i, i) for i in log[1].to_pylist()]))
    if source.catalog is not None:
        return source.read_catalog(source.catalog), Interactions.from_table(log)
    asins = sorted(items.values())
    metadata = source.file("meta.json.gz", "meta.json")
    known = dict(_products(metadata, set(asins))) if metadata else {}
    columns: dict[str, list[Any]] = {"item_id": asins}
    if known:
        products = [known.get(asin, {}) for asin in asins]
        columns |= {name: [_string(p.get(name)) for p in products] for name in _TEXTS}
        columns["categories"] = [_flat(p.get("categories")) for p in products]
    catalog = Catalog.from_table(pa.table(columns), source.pictures, source.text, f"{path}")
    return catalog, Interactions.from_table(log)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(bytes(read_bytes(path)))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _names(maps: Mapping[str, Any], kind: str, path: Path) -> dict[str, str]:
    """Number to raw id, from id2user or user2id."""
    if isinstance(back := maps.get(f"id2{kind}"), dict):
        return {str(number): str(name) for number, name in back.items()}
    if isinstance(forth := maps.get(f"{kind}2id"), dict):
        return {str(number): str(name) for name, number in forth.items()}
    names = ", ".join(name[:80] for name in list(maps)[:20])
    raise InputError(f"{path} has neither id2{kind} nor {kind}2id; it has {shown(names)}")


def _products(path: Path, asins: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The lines (JSON or Python literals, never evaluated) of some products."""
    broken = 0
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
            for line in iter(lambda: lines.readline(_LINE), ""):
                match = _ASIN.search(line)
                if not match or match[1] not in asins:
                    continue
                product = _literal(line)
                broken += product is None
                yield match[1], product or {}
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if broken:
        _log.warning("%s: %d products cannot be parsed; they have no text", path, broken)


def _literal(line: str) -> Mapping[str, Any] | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(line.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, dict) else None
    return None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _flat(value: object) -> list[str]:
    """The strings of nested lists, each once."""
    if isinstance(value, list):
        return list(dict.fromkeys(text for part in value for text in _flat(part)))
    return [value] if isinstance(value, str) else []
