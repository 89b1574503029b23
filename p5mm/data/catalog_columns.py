"""Columns of a catalog that say something: texts and vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from p5mm.data.columns import text_column
from p5mm.errors import InputError, shown, unknown

# Columns of these names are strings, but say nothing in words; they can still be asked for.
CODES = {"asin", "sku", "upc", "ean", "gtin", "isbn", "url", "link"}


def text_columns(table: pa.Table, given: Sequence[str] | None, what: str) -> tuple[str, ...]:
    """The columns that make an item's text: those given, else all strings that are no codes.

    Raises:
        InputError: A given column is not in the table.
    """
    usable = [f.name for f in table.schema if f.name not in ("item_id", "image")]
    if given is None:
        words = [name for name in usable if is_text(table.schema.field(name).type)]
        return tuple(name for name in words if name.lower() not in CODES)
    for name in given:
        if name not in usable:
            raise unknown(f"text column of {what}", name, usable)
    return tuple(given)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings, or lists of them."""
    return bool(pa.types.is_string(_element(kind)))


def is_binary(kind: pa.DataType, in_lists: bool = False) -> bool:
    """Whether values are bytes, or lists of them where these count too."""
    kind = _element(kind) if in_lists else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_nested(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _element(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if _is_nested(kind) else kind


def is_list(kind: pa.DataType, floats: bool) -> bool:
    """Whether values are lists of floats, or of integers."""
    test = pa.types.is_floating if floats else pa.types.is_integer
    return _is_nested(kind) and bool(test(_element(kind)))


def is_vector(column: pa.ChunkedArray) -> bool:
    """Whether a column holds vectors: floats, or integers all of one length above 1."""
    if is_list(column.type, floats=False):
        lengths = pc.unique(pc.list_value_length(column)).drop_null()
        return len(lengths) == 1 and lengths[0].as_py() > 1
    return is_list(column.type, floats=True)


def matrix_of(
    table: pa.Table, name: str, what: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A vector column as ``[n, d]`` float32 and ``[n]`` True where present."""
    column = table[name]
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    present = lengths > 0
    dim = int(lengths[present][0]) if present.any() else 0
    odd = np.flatnonzero(present & (lengths != dim))
    if len(odd):
        raise InputError(
            f"{what}: vectors in '{shown(name)}' must have one length; the first has {dim}, item "
            f"'{shown(table['item_id'][int(odd[0])].as_py())}' has {lengths[odd[0]]}"
        )
    flat = [pc.list_flatten(chunk).to_numpy(zero_copy_only=False) for chunk in column.chunks]
    matrix = np.zeros((len(column), dim), np.float32)
    if dim:
        matrix[present] = np.concatenate(flat).reshape(-1, dim)
    bad = np.flatnonzero(~np.isfinite(matrix).all(1))
    if len(bad):
        raise InputError(
            f"{what}: the vector '{shown(name)}' of item "
            f"'{shown(table['item_id'][int(bad[0])].as_py())}' has a value that is no finite "
            f"number ({len(bad)} items in all); leave the vector empty"
        )
    return matrix, present


def cells_of(table: pa.Table, names: Sequence[str]) -> list[dict[str, Any] | None]:
    """The cells of some columns, by the column's name; None where a row has none of them."""
    rows = table.select(list(names)).to_pylist()
    return [row if any(cell is not None for cell in row.values()) else None for row in rows]


def joined_texts(table: pa.Table, names: Sequence[str]) -> list[str | None]:
    """The texts of some columns in one, None where all are empty.

    Raises:
        InputError: A column is neither texts, nor lists of them, nor what can be written as text.
    """
    whole, *others = (_trimmed(table, name) for name in names)
    for part in others:
        either = pc.or_(pc.equal(whole, ""), pc.equal(part, ""))
        whole = pc.binary_join_element_wise(whole, part, pc.if_else(either, "", ". "))
    return [text or None for text in whole.to_pylist()]


def _trimmed(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of texts or lists of texts as texts, empty where null."""
    column = table[name]
    if _is_nested(column.type):
        cells = [[str(v) for v in cell or () if v is not None] for cell in column.to_pylist()]
        column = pa.chunked_array([[", ".join(cell) for cell in cells]], pa.string())
    else:
        column = text_column(table, "catalog", name)
    return pc.utf8_trim_whitespace(pc.fill_null(column, ""))
