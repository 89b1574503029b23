"""Values from a file of somebody else: JSON whose types are checked, errors that name the file."""

import json
import math
import os
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from p5mm.errors import InputError

LARGEST = 2**63 - 1
NOT_ALLOWED = "may not be read: permission denied; chmod u+r, or ask whose it is"


@contextmanager
def reading(path: str | Path, remedy: str) -> Iterator[None]:
    """Whatever goes wrong with a file becomes an InputError that names it.

    Args:
        path: The file.
        remedy: What to do, for the message: "train again".
    """
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}; {remedy}") from error
    except PermissionError as error:
        raise InputError(f"{path} {NOT_ALLOWED}") from error
    except FileNotFoundError as error:  # safetensors says so of a file that it may not read, too
        told = NOT_ALLOWED if os.path.exists(path) else f"is missing; {remedy}"
        raise InputError(f"{path} {told}") from error
    except Exception as error:  # libraries meet a broken file with errors of every kind
        raise InputError(f"{path} {_reason(error)}; {remedy}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, MemoryError):
        return "does not fit into memory, or is damaged"
    told = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:300]
    return f"is damaged: {told} ({type(error).__name__})"


def read_json(path: str | Path, remedy: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    with reading(path, remedy):
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise InputError(f"it holds a {type(value).__name__}, and must hold an object")
        return value


def check_type(value: object, kind: Any, name: str) -> None:
    """Check that a value read from JSON is of the type that an annotation says.

    Lists stand for tuples, objects for dataclasses, with all their fields and no other; numbers are
    finite, and integers fit into 64 bits.

    Args:
        value: From JSON.
        kind: A type, an annotation such as ``tuple[int, ...]``, or a dataclass.
        name: Of the value, for the message.

    Raises:
        InputError: It is of another type.

    Example:
        >>> check_type([1, 2.5], tuple[float, ...], "levels")
        >>> check_type("2", int, "items")
        Traceback (most recent call last):
        p5mm.errors.InputError: items is '2'; it must be int
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        _check_union(value, arguments, name)
    elif origin is Literal:
        if value not in arguments:
            raise _wrong(value, " or ".join(map(repr, arguments)), name)
    elif origin in (dict, Mapping):
        _check_mapping(value, arguments[1], name)
    elif origin in (tuple, list):
        _check_list(value, arguments, name)
    elif is_dataclass(kind):
        _check_fields(value, kind, name)
    elif kind in (int, float):
        _check_number(value, kind, name)
    elif not isinstance(value, kind):
        raise _wrong(value, kind.__name__, name)


def _check_union(value: object, kinds: tuple[Any, ...], name: str) -> None:
    for kind in kinds:
        try:
            return check_type(value, kind, name)
        except InputError:
            continue
    raise _wrong(value, " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds), name)


def _check_mapping(value: object, kind: Any, name: str) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(value, "an object", name)
    for key, part in value.items():
        check_type(part, kind, f"{name}.{key[:80]}")


def _check_list(value: object, kinds: tuple[Any, ...], name: str) -> None:
    if not isinstance(value, list):
        raise _wrong(value, "a list", name)
    if kinds[-1] is Ellipsis or len(kinds) == 1:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise _wrong(value, f"a list of {len(kinds)}", name)
    for place, (part, kind) in enumerate(zip(value, kinds, strict=True)):
        check_type(part, kind, f"{name}[{place}]")


def _check_fields(value: object, kind: Any, name: str) -> None:
    hints = get_type_hints(kind)
    if not isinstance(value, Mapping):
        raise _wrong(value, "an object", name)
    odd = set(value) ^ {field.name for field in fields(kind)}
    if odd:
        word = "lacks" if min(odd) not in value else "has the unknown key"
        raise InputError(f"{name} {word} '{min(odd)[:80]}'")
    for key, part in value.items():
        check_type(part, hints[key], f"{name}.{key}")


def _check_number(value: object, kind: type, name: str) -> None:
    allowed = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise _wrong(value, kind.__name__, name)
    if not math.isfinite(value) or (kind is int and abs(value) > LARGEST):
        raise _wrong(value, f"a finite {kind.__name__}", name)


def _wrong(value: object, wanted: str, name: str) -> InputError:
    given = repr(value)
    given = given if len(given) <= 60 else given[:60] + "..."
    return InputError(f"{name} is {given}; it must be {wanted}")
