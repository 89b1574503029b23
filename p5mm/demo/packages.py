"""Packages that only the demo needs."""

import importlib
from types import ModuleType

from p5mm.errors import InputError


def demo_package(name: str) -> ModuleType:
    """Import a package of the extra ``demo``.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"the demo needs the package '{name}', which is not installed; "
            'type: pip install "p5mm[demo]"'
        ) from error
