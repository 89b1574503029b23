"""Spec string to encoder, and which specs a stranger's folder may name."""

import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from p5mm.encoders.base import Encoder, encoders
from p5mm.errors import InputError, unknown

# The families whose argument is a hub's name, a folder with this file, or a name and a file.
HUBS = {"open_clip": "open_clip_config.json", "timm": "config.json", "hf": "config.json"}
HARMLESS = ("embedded", "vector")  # families that read nothing but what is installed or given
WORDS = (
    "Index them with a CLIP (--image-encoder open_clip:MODEL/TAG, open_clip:FOLDER or hf:FOLDER), "
    "or give the catalog a text column and align it (p5mm align INDEX)"
)


def make_encoder(
    spec: str,
    modality: str | None = None,
    *,
    origin: str | None = None,
    allowed: Collection[str] = (),
) -> Encoder:
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
        origin: The folder or file that names the spec, where it is not the user who does. Then
            nothing is imported, no path is opened and no hub is asked: the spec is of what is
            installed or registered, or a model that lies in the hub's cache on this machine.
        allowed: Specs that the user named (``--trust SPEC``); they are made whatever names them.

    Raises:
        InputError: The spec is unknown, its weights cannot be loaded, it gives another modality,
            or it may not come from where it does.
    """
    if origin is None or is_allowed(spec, allowed):
        return _make(spec, modality)
    if not _only_cached(spec, modality, origin):
        return _make(spec, modality)
    from p5mm.encoders.frozen import offline  # imports torch

    try:
        with offline():
            return _make(spec, modality)
    except InputError as error:
        why = "which the hub's cache on this machine does not hold"
        raise _refusal(spec, origin, why) from error


def text_tower(
    spec: str, fingerprint: str, *, origin: str | None = None, allowed: Collection[str] = ()
) -> Encoder:
    """The text encoder whose vectors share a space with those of an image encoder.

    Args:
        spec: Of the image encoder.
        fingerprint: Of the image encoder.
        origin: As `make_encoder`.
        allowed: As `make_encoder`.

    Raises:
        InputError: The spec has no such text tower, its weights are others now, or it may not
            come from where it does.
    """
    spec = spec.replace(".image:", ":", 1)
    family = spec.partition(":")[0]
    if f"{family}.text" not in encoders.names():
        raise InputError(f"the encoder '{spec}' has no text tower. {WORDS}")
    encoder = make_encoder(spec, "text", origin=origin, allowed=allowed)
    space = getattr(encoder, "space", "")
    if not space:
        raise InputError(f"the text encoder of '{spec}' shares no space with its pictures. {WORDS}")
    if space != fingerprint:
        raise InputError(
            f"the pictures were encoded by '{spec}' with fingerprint {fingerprint}; the text tower "
            f"of this installation belongs to {space}: encode the pictures again, or install the "
            "weights they were made with"
        )
    return encoder


def has_text_tower(spec: str) -> bool:
    """Whether words reach the pictures of an encoder that was made: by its family and config."""
    family, _, checkpoint = spec.partition(":")
    family = family.partition(".")[0]
    if family != "hf":
        return family == "open_clip"
    from p5mm.encoders.hf.checkpoint import finds_pictures

    return finds_pictures(checkpoint)


def is_allowed(spec: str, allowed: Collection[str]) -> bool:
    """Whether a spec is among those that the user named; a relative path is its absolute one."""
    return spec in allowed or absolute_spec(spec) in {absolute_spec(other) for other in allowed}


def absolute_spec(spec: str) -> str:
    """A spec whose path, if it has one, is absolute: what is kept, as it is read from anywhere."""
    family, _, argument = spec.partition(":")
    config = HUBS.get(family.partition(".")[0])
    if config is None or not argument:
        return spec
    if (Path(argument) / config).is_file():
        return f"{family}:{Path(argument).absolute()}"
    name, _, file = argument.partition("/")
    if file and Path(file).is_file():
        return f"{family}:{name}/{Path(file).absolute()}"
    return spec


def _make(spec: str, modality: str | None) -> Encoder:
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


def _only_cached(spec: str, modality: str | None, origin: str) -> bool:
    """Whether a stranger's spec is a hub's model, to be had from its cache alone.

    Raises:
        InputError: The spec would import code, open a path, or pass a stranger's argument on.
    """
    name, _, argument = spec.partition(":")
    registered = _registered()
    if not {f"{name}.{modality}", name} & registered:
        what, _, argument = argument.partition(":")
        if not what or name not in sys.modules:
            raise _refusal(spec, origin, "which is no code that was imported here")
    family = name.partition(".")[0]
    if family in HUBS:
        if not _is_hub_name(family, argument):
            raise _refusal(spec, origin, "which is a path on this machine")
        return True
    if argument and family not in HARMLESS:
        raise _refusal(spec, origin, f"which is given '{argument}'")
    return False


def _is_hub_name(family: str, argument: str) -> bool:
    """``name`` or ``owner/name``, and no folder or file of this machine would be taken for it."""
    parts = argument.split("/")
    if len(parts) > 2 or not all(re.fullmatch(r"\w[\w.-]*", part) for part in parts):
        return False
    return not Path(argument).exists() and (family == "hf" or not Path(parts[-1]).is_file())


def _registered() -> set[str]:
    """Names whose code is imported already: not those of other distributions' entry points."""
    others = entry_points(group=encoders.group)
    asleep = {e.name for e in others if e.module not in sys.modules}
    return set(encoders.names()) - asleep


def _refusal(spec: str, origin: str, why: str) -> InputError:
    return InputError(
        f"{origin} wants the encoder '{spec}', {why}. Nothing is imported, opened or fetched "
        f"because a folder says so; if you trust it, add: --trust {shlex.quote(spec)} "
        f"(in Python: trust=[{spec!r}])"
    )


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
