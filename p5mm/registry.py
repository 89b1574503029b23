"""One registry for everything that strangers may add: encoders, fusions, baselines."""

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from p5mm.errors import InputError, unknown

T = TypeVar("T", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Names to factories: by decorator, by ``module:Class``, or by an entry point.

    Args:
        kind: What is registered, for messages: "encoder".
        group: The entry point group that other distributions use: "p5mm.encoders".
        modules: Modules that register built-in factories; imported on first use.

    Example:
        >>> shapes: Registry = Registry("shape", "example.shapes")
        >>> @shapes.register("square")
        ... def square(side: float) -> float:
        ...     return side * side
        >>> shapes.get("square")(3.0)
        9.0
    """

    def __init__(self, kind: str, group: str, modules: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.group = group
        self._modules = modules
        self._factories: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers a class or function under a name."""

        def keep(factory: T) -> T:
            if self._factories.get(name, factory) is not factory:
                raise InputError(f"the {self.kind} name '{name}' is taken; choose another one")
            self._factories[name] = factory
            return factory

        return keep

    def names(self) -> list[str]:
        """Every name that can be used, entry points included."""
        self._import_builtins()
        return sorted({*self._factories, *(e.name for e in entry_points(group=self.group))})

    def get(self, name: str) -> T:
        """The factory of a name or of a ``module:Class`` path.

        Raises:
            InputError: The name is unknown, or the path cannot be imported.
        """
        self._import_builtins()
        if name in self._factories:
            return self._factories[name]
        for entry in entry_points(group=self.group):
            if entry.name == name:
                factory: T = entry.load()
                return factory
        if ":" in name:
            return self._import_path(name)
        raise unknown(self.kind, name, self.names())

    def refuse_strange_path(self, name: str, origin: str) -> None:
        """Refuse a ``module:Class`` that a file asks for, unless its module is already imported.

        A model or index from a stranger must not decide what code is imported.

        Raises:
            InputError: The name is a path to code that nobody here asked for.
        """
        module = name.partition(":")[0]
        ours = {known.partition(".")[0] for known in self.names()}
        if ":" in name and module not in ours and module not in sys.modules:
            raise InputError(
                f"{origin} wants the {self.kind} '{name}', which is not p5mm's own code; if you "
                f"trust it, import {module} first (p5mm --import {module} ...)"
            )

    def _import_builtins(self) -> None:
        for module in self._modules:
            importlib.import_module(module)

    def _import_path(self, path: str) -> T:
        module, _, attribute = path.partition(":")
        try:
            factory: T = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"cannot load the {self.kind} '{path}': {error}. Give one of "
                f"{', '.join(self.names())}, or module:Class of something importable"
            ) from error
        return factory
