"""The packages of the extra 'onnx', imported when they are needed."""

import importlib
from typing import Any

from p5mm.errors import InputError


def package(name: str) -> Any:
    """A module of the extra.

    Raises:
        InputError: It, or what it needs, is not installed; the message is the pip line.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        raise InputError(
            f"'{missing}' is not installed, and exported models need it; "
            'type: pip install "p5mm[onnx]"'
        ) from error
