"""From a preset, a YAML and dotted overrides to a configuration."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

from p5mm.config import Config, sections
from p5mm.errors import InputError, unknown

UNKNOWN_KEY = (  # how jsonargparse says it
    r"unrecognized arguments: --([\w.]+)",
    r"Group '([\w.]+)' does not accept option '([\w.]+)'",
    r"Option '([\w.]+)' is not accepted",
)


def presets() -> dict[str, str]:
    """Each preset that comes with p5mm, and what the first line of its YAML says of it."""
    yamls = [path for path in files("p5mm.configs").iterdir() if path.name.endswith(".yaml")]
    return {
        path.name.removesuffix(".yaml"): _about(path.read_text(encoding="utf-8"))
        for path in sorted(yamls, key=lambda path: path.name.removesuffix(".yaml"))
    }


def read_config(name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file or a preset, with overrides such as ``--train.epochs 3``.

    Args:
        name: A YAML file, or the name of a preset: ``default``.
        overrides: Dotted keys and their values.

    Raises:
        InputError: There is no such file and no such preset, a key is unknown (the nearest is
            named), or a value is not of its key's type.
    """
    import yaml
    from jsonargparse import ArgumentParser

    text = _text(name)
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    for section, default in sections().items():
        parser.add_argument(f"--{section}", type=type(default), default=default)
    try:
        given = [] if yaml.safe_load(text) is None else ["--config", text]
        values = parser.instantiate(parser.parse_args([*given, *overrides]))
    except InputError:
        raise
    except Exception as error:
        raise _explained(error, name) from error
    return Config(**{section: values[section] for section in sections()})


def _text(name: str | Path) -> str:
    if Path(name).is_file():
        return Path(name).read_text(encoding="utf-8")
    known = presets()
    if str(name) in known:
        return files("p5mm.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    if Path(name).suffix or Path(name).parent != Path():
        raise InputError(
            f"there is no config {name}; give a YAML file, or a preset: {', '.join(known)}"
        )
    raise unknown("preset", str(name), known)


def _about(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.removeprefix("#").strip().rstrip(":")


def _keys() -> Iterator[str]:
    for name, section in sections().items():
        yield name
        yield from (f"{name}.{key.name}" for key in fields(section))


def _explained(error: Exception, name: str | Path) -> InputError:
    """Jsonargparse's message, with the nearest key where the key is unknown."""
    text = " ".join(str(error).split())
    for pattern in UNKNOWN_KEY:
        if match := re.search(pattern, text):
            return unknown("config key", ".".join(match.groups()), _keys())
    return InputError(f"{name}: {text}")
