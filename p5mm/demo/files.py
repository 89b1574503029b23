"""Files that are whole or absent, and packages that only the demo needs."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from p5mm.errors import InputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to; only when the block ends well does the file get its real name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    yield part
    os.replace(part, path)


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
