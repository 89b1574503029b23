"""A condition on catalog columns, as users write it: category == 'Shoes' and price < 50."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from p5mm.errors import InputError, shown, unknown

FORM = (
    "a condition compares columns with values, as in: category == 'Shoes' and price < 50, "
    "brand in ['Acme', 'Bolt'], 'wool' in title, not (year >= 1990)"
)
COMPARISONS: Mapping[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: pc.equal, ast.NotEq: pc.not_equal, ast.Lt: pc.less, ast.LtE: pc.less_equal,
    ast.Gt: pc.greater, ast.GtE: pc.greater_equal,
}  # fmt: skip
DEEPEST = 50


def rows_where(table: pa.Table, text: str) -> NDArray[np.int64]:
    """The rows ``[m]``, ascending, of which a condition is true; what is null is not.

    Nothing is executed: only names of columns, values, comparisons, ``in``, ``and``, ``or`` and
    ``not`` are read. ``in`` looks into a list that is given, into a text, or into a column of
    lists.

    Args:
        table: Whose columns are named.
        text: The condition.

    Raises:
        InputError: It is none, names no column, or compares what cannot be compared.

    Example:
        >>> shoes = pa.table({"kind": ["shoe", "hat", None], "price": [5, 9, 1]})
        >>> rows_where(shoes, "kind == 'shoe' or price > 8").tolist()
        [0, 1]
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return np.flatnonzero(_truth(tree, table, DEEPEST))
    except InputError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"--where {shown(text)[:200]} cannot be read; {FORM}") from error


def _truth(node: ast.expr, table: pa.Table, depth: int) -> NDArray[np.bool_]:
    """``[n]`` True where a condition holds."""
    if not depth:
        raise InputError(f"--where is nested too deeply; {FORM}")
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value, table, depth - 1) for value in node.values]
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        joined: NDArray[np.bool_] = join.reduce(parts)
        return joined
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_truth(node.operand, table, depth - 1)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        parts = [
            _compared(left, op, right, table)
            for left, op, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        chained: NDArray[np.bool_] = np.logical_and.reduce(parts)
        return chained
    if isinstance(node, ast.Name):  # a column of truths
        column = _column(node, table)
        if pa.types.is_boolean(column.type):
            return _plain(column)
    raise InputError(f"--where: '{shown(ast.unparse(node))[:100]}' is no condition; {FORM}")


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, table: pa.Table) -> NDArray[np.bool_]:
    told = f"'{shown(ast.unparse(left))[:60]}' with '{shown(ast.unparse(right))[:60]}'"
    one, other = _value(left, table), _value(right, table)
    if not isinstance(one, pa.ChunkedArray) and not isinstance(other, pa.ChunkedArray):
        raise InputError(
            f"--where compares {told}, and neither is a column; there are "
            f"{', '.join(map(shown, table.column_names[:20]))}. Put texts into quotes"
        )
    try:
        if isinstance(op, (ast.In, ast.NotIn)):
            found = _within(one, other)
            return ~found if isinstance(op, ast.NotIn) else found
        if type(op) in COMPARISONS and not isinstance(one, list) and not isinstance(other, list):
            return _plain(COMPARISONS[type(op)](one, other))
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise InputError(
            f"--where cannot compare {told} ({shown(str(error))[:120]}); {FORM}"
        ) from error
    raise InputError(f"--where cannot compare {told}; {FORM}")


def _within(one: Any, other: Any) -> NDArray[np.bool_]:
    """Whether values are in a list, or a value in the texts or lists of a column."""
    if isinstance(one, pa.ChunkedArray) and isinstance(other, list):
        found = np.zeros(len(one), dtype=np.bool_)
        for value in other:
            found |= _plain(pc.equal(one, value))
        return found
    if isinstance(one, pa.ChunkedArray):
        raise TypeError("a column is looked for in a list that is given")
    if isinstance(other, pa.ChunkedArray) and pa.types.is_string(other.type):
        return _plain(pc.match_substring(other, one))
    if isinstance(other, pa.ChunkedArray) and pa.types.is_list(other.type):
        return np.array([bool(of) and one in of for of in other.to_pylist()], dtype=np.bool_)
    raise TypeError("'in' looks into a list, into texts, or into a column of lists")


def _value(node: ast.expr, table: pa.Table) -> Any:
    """A column, a value, or a list of values."""
    if isinstance(node, ast.Name):
        return _column(node, table)
    if isinstance(node, (ast.List, ast.Tuple, ast.Constant, ast.UnaryOp)):
        value = ast.literal_eval(node)
        return list(value) if isinstance(value, tuple) else value
    raise InputError(f"--where: '{shown(ast.unparse(node))[:100]}' is no value; {FORM}")


def _column(node: ast.Name, table: pa.Table) -> pa.ChunkedArray:
    if node.id not in table.column_names:
        raise unknown("column in --where", node.id, table.column_names)
    return table[node.id]


def _plain(truths: Any) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.fill_null(truths, False).to_numpy(zero_copy_only=False)
    return found
