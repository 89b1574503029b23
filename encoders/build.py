"""Spec string to encoder."""

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from p5mm.encoders.base import Encoder, encoders
from p5mm.errors import InputError, unknown


def make_encoder(spec: str, modality: str | None = None) -> Encoder:
    """The encoder that a spec string names.

    A spec is ``name``, ``name:argument``, or ``module:Class`` with an optional third part
    ``:argument`` (modules in the current folder count). Families with several towers register
    ``name.modality``: ``open_clip:...`` for modality "text" is ``open_clip.text:...``, and both
    can be written. Without a modality ``open_clip`` is its image tower and ``hf`` what the
    checkpoint is.

    Args:
        spec: ``open_clip:ViT-B-32/laion2b_s34b_b79k``, ``timm:tf_efficientnet_lite0``,
            ``hf:folder``, ``vector:column``, ``embedded``, ``colour_encoder:ColourEncoder``.
        modality: What the encoder must give.

    Raises:
        InputError: The spec is unknown, its weights cannot be loaded, or it gives another modality.
    """
    factory, argument = _resolve(spec, modality)
    encoder = _call(factory, spec, argument)
    if not isinstance(encoder, Encoder):
        raise InputError(
            f"'{spec}' is no encoder; it needs modality, dim, fingerprint, load and encode "
            "(see p5mm.encoders.base.Encoder)"
        )
    if modality is not None and encoder.modality != modality:
        raise InputError(
            f"'{spec}' gives the modality '{encoder.modality}', not '{modality}'; "
            f"name it under encoders.others (or --encoder {spec})"
        )
    return encoder


def _resolve(spec: str, modality: str | None) -> tuple[Any, str]:
    names = encoders.names()
    name, _, argument = spec.partition(":")
    for key in (f"{name}.{modality}", name):
        if key in names:
            return encoders.get(key), argument
    towers = [key for key in names if key.startswith(f"{name}.")]
    if towers:
        raise InputError(f"'{name}' is a family; give one of {', '.join(towers)}")
    if not argument:
        raise unknown("encoder", spec, names)
    module_class, _, last = argument.partition(":")
    with _current_folder():
        return _checked(encoders.get(f"{name}:{module_class}"), spec), last


def _checked(factory: Any, spec: str) -> Any:
    """Only a class with an encoder's methods is called: a spec may come from a stranger's file."""
    if not (isinstance(factory, type) and hasattr(factory, "load") and hasattr(factory, "encode")):
        raise InputError(f"'{spec}' is not a class with the methods load and encode")
    return factory


def _call(factory: Any, spec: str, argument: str) -> Any:
    parameters = inspect.signature(factory).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    if argument and not parameters:
        raise InputError(f"'{spec}': this encoder takes no argument '{argument}'")
    if needed and not argument:
        raise InputError(f"'{spec}' needs an argument: {spec}:{needed[0].name.upper()}")
    return factory(argument) if argument else factory()


@contextmanager
def _current_folder() -> Iterator[None]:
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove("")
