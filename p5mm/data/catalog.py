"""The catalog: items with pictures, texts and vectors, by their own ids."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from p5mm.data.catalog_columns import (
    cells_of,
    is_binary,
    is_list,
    is_text,
    is_vector,
    joined_texts,
    matrix_of,
    text_columns,
)
from p5mm.data.columns import id_column, with_known_names
from p5mm.data.pictures import (
    Picture,
    Pictures,
    column_pictures,
    first_picture,
    placed,
    scan,
    stem_pictures,
)
from p5mm.data.shards.items import read_shards
from p5mm.data.shards.members import is_tar, tars_in
from p5mm.data.tables import arrow_table, read_table
from p5mm.errors import InputError, shown, unknown
from p5mm.plain import reading

_TITLES = ("title", "name", "short_name", "product_title")
_METADATA = b"p5mm.catalog"


@dataclass(frozen=True)
class Catalog:
    """Items in rows; every modality of an item may be absent.

    Attributes:
        table: The rows: ``item_id`` (string, unique) and whatever columns were given.
        text: Names of the columns that together are an item's text.
        pictures: Where each item's picture is, or its bytes; a tuple of several, None where absent.
            None without pictures.
        quarantine: ``(item_id, reason)`` of pictures that were named but are refused.
        images: The folder that paths in columns are below; None where there is none.
    """

    table: pa.Table
    text: tuple[str, ...] = ()
    pictures: Sequence[Pictures | None] | None = None
    quarantine: tuple[tuple[str, str], ...] = ()
    images: Path | None = None

    @classmethod
    def read(
        cls,
        path: str | Path,
        images: str | Path | None = None,
        text: Sequence[str] | None = None,
    ) -> "Catalog":
        """A catalog of a table file, a folder of pictures (a stem is an id), or of tar shards.

        Args:
            path: Parquet, CSV, TSV or JSONL with ``item_id``, a folder of pictures, a tar, or a
                folder of tars (`p5mm.data.shards`).
            images: Folder of the pictures; by default paths in the column ``image`` are below
                the table's own folder. Without such a column a picture's stem is the item's id
                (in sub-folders: the relative path without suffix), or it lies in a sub-folder
                called like the item.
            text: Columns that make the text; where None, all string columns but those named like
                codes (asin, sku, url, ...).

        Raises:
            InputError: The catalog is missing, empty, or has ids missing or twice.
        """
        path = Path(path)
        shards = tars_in(path) if path.is_dir() else [path] if is_tar(path) else []
        if path.is_dir() and (files := scan(path)):
            _check_no_shards(path, shards)
            return cls._of_files(path, files)
        if shards:
            return cls._of_shards(path, shards, images, text)
        if path.is_dir():
            raise InputError(
                f"no pictures are in {path}; give a folder of pictures or of tars, or a table"
            )
        table = read_table(path)
        if images is None and "image" in table.column_names:
            images = path.absolute().parent
        catalog = cls.from_table(table, images, text, what=f"catalog {path}")
        return catalog if catalog.images else replace(catalog, images=path.absolute().parent)

    @classmethod
    def from_table(
        cls,
        table: Any,
        images: str | Path | None = None,
        text: Sequence[str] | None = None,
        what: str = "catalog",
    ) -> "Catalog":
        """A catalog of a table in memory; see `read`. Picture paths need ``images``.

        Args:
            table: An Arrow table or a data frame; see `p5mm.data.tables.arrow_table`. Where
                ``item_id`` is missing, a known other name of it is taken
                (`p5mm.data.columns.ALIASES`).
            images: As `read`.
            text: As `read`.
            what: Name of the table in messages.

        Raises:
            InputError: As `read`.
        """
        table = with_known_names(arrow_table(table, what), what, ["item_id"])
        ids = id_column(table, what, "item_id")
        _check_unique(ids, what)
        place = table.column_names.index("item_id")
        table = table.set_column(place, "item_id", ids).replace_schema_metadata()
        for name in ("image", "text"):
            if name in table.column_names and is_list(table.schema.field(name).type, floats=True):
                raise InputError(f"{what}: vectors are in '{name}'; rename it to '{name}_vector'")
        catalog = cls(table, text_columns(table, text, what))
        for name in catalog.vectors:
            matrix_of(table, name, what)
        return catalog._find_pictures(images)

    @classmethod
    def _of_files(cls, folder: Path, files: Mapping[str, Sequence[str]]) -> "Catalog":
        ids = list(files)
        pictures, refused = placed(list(files.values()), folder)
        table = _with_names(pa.table({"item_id": ids}), list(files.values()))
        quarantine = tuple((ids[row], reason) for row, reason in refused)
        return cls(table, (), pictures, quarantine, folder)

    @classmethod
    def _of_shards(
        cls,
        path: Path,
        shards: Sequence[Path],
        images: str | Path | None,
        text: Sequence[str] | None,
    ) -> "Catalog":
        if images is not None:
            raise InputError(f"the pictures of {path} are in the tar; leave --images out")
        found = read_shards(shards)
        words = ["text"] if text is None and found.has_text else text
        made = cls.from_table(found.table, None, words, what=f"shards {path}")
        made = replace(made, quarantine=found.quarantine)
        if not any(found.names):
            return made
        table = _with_names(made.table, found.names)
        return replace(made, table=table, pictures=found.pictures)

    def _find_pictures(self, images: str | Path | None) -> "Catalog":
        if images is not None and not Path(images).is_dir():
            raise InputError(f"there is no picture folder {images}; check --images")
        root = None if images is None else Path(images)
        if "image" in self.table.column_names:
            pictures, refused = column_pictures(self.table["image"], root)
        elif root is not None:
            pictures, refused = stem_pictures(self.item_ids, root)
        else:
            return self
        quarantine = tuple((self.item_ids[row], reason) for row, reason in refused)
        return replace(self, pictures=pictures, quarantine=quarantine, images=root)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def item_ids(self) -> list[str]:
        """The ids, in the order of the rows."""
        ids: list[str] = self.table["item_id"].to_pylist()
        return ids

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each id."""
        return {item: row for row, item in enumerate(self.item_ids)}

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the vector columns: lists of floats, or of integers all of one length."""
        fields = [f for f in self.table.schema if f.name not in self.text]
        return tuple(f.name for f in fields if is_vector(self.table[f.name]))

    @property
    def fields(self) -> tuple[str, ...]:
        """The sources that `raw` gives: "image", "text", and the vector columns."""
        first = {"image": self.pictures is not None, "text": bool(self.text)}
        return (*(name for name, there in first.items() if there), *self.vectors)

    def take(self, rows: NDArray[np.int64]) -> "Catalog":
        """The same catalog with only some rows ``[m]``, in their order."""
        table = self.table.take(pa.array(rows))
        kept = set(table["item_id"].to_pylist())
        pictures = None if self.pictures is None else [self.pictures[row] for row in rows.tolist()]
        quarantine = tuple(refused for refused in self.quarantine if refused[0] in kept)
        return replace(self, table=table, pictures=pictures, quarantine=quarantine)

    def raw(self, source: str | Sequence[str]) -> list[Any | None]:
        """The raw value of each item, None where it has none.

        Args:
            source: "image" (a path, bytes, a `FilePart`, or a tuple of several), "text" (the text
                columns joined), the name of one column of texts, of bytes, or of vectors (``[d]``
                float32); or several names, of columns of texts, numbers, dates and the like: then
                the value is the item's cells by name, as Python's own types, None where one is
                missing.

        Raises:
            InputError: The catalog has no such source.
        """
        if not isinstance(source, str):
            return self._cells(source)
        if source == "image" and self.pictures is not None:
            return list(self.pictures)
        if source == "text" and self.text:
            return joined_texts(self.table, self.text)
        if source in self.vectors:
            matrix, present = matrix_of(self.table, source, "catalog")
            return [row if there else None for row, there in zip(matrix, present, strict=True)]
        kinds = {f.name: f.type for f in self.table.schema if f.name not in ("item_id", "image")}
        if source in kinds and is_binary(kinds[source]):
            return [cell or None for cell in self.table[source].to_pylist()]
        if source in self.text or (source in kinds and is_text(kinds[source])):
            return joined_texts(self.table, [source])
        told = {name for name, kind in kinds.items() if is_text(kind) or is_binary(kind)}
        raise unknown("catalog field", source, {*self.fields, *self.text, *told})

    def _cells(self, names: Sequence[str]) -> list[dict[str, Any] | None]:
        kinds = {field.name: field.type for field in self.table.schema}
        alone = {"item_id", "image", *self.vectors, *(n for n, k in kinds.items() if is_binary(k))}
        known = [name for name in kinds if name not in alone]
        for name in names:
            if name not in known:
                raise unknown("catalog column", name, known)
        return cells_of(self.table, names)

    def picture(self, item_id: str) -> Picture | None:
        """Where one item's picture is, or its bytes; of several the first.

        Raises:
            InputError: The item is unknown.
        """
        if item_id not in self.rows:
            raise unknown("item", item_id, self.rows)
        return None if self.pictures is None else first_picture(self.pictures[self.rows[item_id]])

    @cached_property
    def titles(self) -> list[str]:
        """A short name of each item: a title or name, else the first text, else the id.

        Each is one line without control characters.
        """
        return [title or shown(i) for title, i in zip(self.own_titles, self.item_ids, strict=True)]

    @cached_property
    def own_titles(self) -> list[str | None]:
        """The title or name of each item, or its first text, in one line; None where it has none.

        At most 80 characters of each.
        """
        names = [name for name in _TITLES if name in self.table.column_names] or self.text[:1]
        if not names:
            return [None] * len(self)
        return [shown(text[:80]) if text else None for text in joined_texts(self.table, names[:1])]

    def write(self, path: str | Path) -> None:
        """Save the columns as Parquet. Picture files stay where they are; see `load`."""
        kept = {_METADATA: json.dumps({"text": self.text}).encode()}
        pyarrow.parquet.write_table(self.table.replace_schema_metadata(kept), path)

    @classmethod
    def load(cls, path: str | Path, images: str | Path | None = None) -> "Catalog":
        """A catalog as `write` left it; without ``images`` only pictures in bytes are there.

        Raises:
            InputError: The file was not written by `write`.
        """
        table = read_table(path)
        try:
            text = json.loads((table.schema.metadata or {})[_METADATA])["text"]
        except (KeyError, ValueError) as error:
            raise InputError(f"{path} is no saved catalog; read it with Catalog.read") from error
        bare = images is None and "image" in table.column_names
        if bare and not is_binary(table.schema.field("image").type, in_lists=True):
            return cls(table.replace_schema_metadata(), tuple(text))
        return cls.from_table(table, images, text, what=f"catalog {path}")


def read_items(path: Path, remedy: str) -> Catalog:
    """The catalog of an index or a model, checked.

    Args:
        path: As `Catalog.write` left it.
        remedy: What to do where it is damaged, for the message.

    Raises:
        InputError: It is damaged, an id is missing or there twice, or a text is no text.
    """
    with reading(path, remedy):
        catalog = Catalog.load(path)
        table = catalog.table
        table.validate(full=True)
        ids = table["item_id"]
        if ids.type != pa.string() or ids.null_count or not len(ids):
            raise InputError("item_id must be a string in every row, and there must be a row")
        if pc.count_distinct(ids).as_py() != len(ids):
            raise InputError("an item_id is there twice")
        for name in catalog.text:
            if name not in table.column_names:
                raise unknown("text column", str(name)[:80], table.column_names)
        # Whether the columns' types make texts shows in any row.
        row = Catalog(table.slice(0, 1), catalog.text)
        if row.titles and row.text:
            row.raw("text")
        return catalog


def _check_no_shards(folder: Path, shards: Sequence[Path]) -> None:
    whole = [shard.name for shard in shards if shard.suffix.lower() == ".tar"]
    if whole:
        raise InputError(
            f"{folder} holds pictures and tars (such as {shown(whole[0])}); put the one or the "
            "other elsewhere"
        )


def _with_names(table: pa.Table, names: Sequence[Sequence[str]]) -> pa.Table:
    """A table with the first picture of each item in ``image``, others in ``more_images``.

    So the column stays one of strings whether or not an item comes to have a second picture.
    """
    first = pa.array([some[0] if some else None for some in names], pa.string())
    table = table.append_column("image", first)
    more = [list(some[1:]) or None for some in names]
    if not any(more):
        return table
    return table.append_column("more_images", pa.array(more, pa.list_(pa.string())))


def _check_unique(ids: pa.ChunkedArray, what: str) -> None:
    if not len(ids):
        raise InputError(f"{what} is empty; give at least one row with an item_id")
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(twice):
        some = ", ".join(repr(item[:80]) for item in twice[:5].to_pylist())
        raise InputError(
            f"{what} has {len(twice)} item ids more than once: {some}; give each item one row"
        )
