"""Options of the command line, made from the frozen dataclasses that a YAML mirrors."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints


def add_options(parser: argparse.ArgumentParser, section: Any, flags: Mapping[str, str]) -> None:
    """Give a parser an option for some keys of a section: type, default and help are its own.

    Args:
        parser: Gets the options; ``options_of`` reads them.
        section: A frozen dataclass with its defaults.
        flags: Key to the option's name, such as ``image`` to ``--image-encoder``.
    """
    hints, about = get_type_hints(type(section)), attributes(type(section))
    for key, flag in flags.items():
        kind, several = _kind(hints[key])
        default = getattr(section, key)
        told = "" if default in (None, ()) else f" (default: {default})"
        parser.add_argument(
            flag,
            dest=_dest(section, key),
            type=kind,
            default=None if several else default,
            nargs="+" if several else None,
            action="extend" if several else "store",
            metavar=flag.rpartition("-")[2].upper(),
            help=(about[key] + told).replace("%", "%%"),
        )


def options_of(options: argparse.Namespace, section: Any, flags: Mapping[str, str]) -> Any:
    """The section with what the options of ``add_options`` say."""
    given = {key: getattr(options, _dest(section, key)) for key in flags}
    kept = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    unset = {key for key, value in kept.items() if value is None}
    return type(section)(**{key: value for key, value in kept.items() if key not in unset})


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Give a parser the option ``--engine``."""
    parser.add_argument(
        "--engine", default="local", metavar="ENGINE",
        help="where it is computed: local (here, the default), or ray (all workers of a Ray "
        "cluster, see docs/machines.md)",
    )  # fmt: skip


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options ``--allow``, ``--deny`` and ``--where``."""
    parser.add_argument(
        "--allow", metavar="FILE", help="table with item_id: the only items that anybody may get"
    )
    parser.add_argument(
        "--deny", metavar="FILE", help="table with item_id: items that nobody may get"
    )
    parser.add_argument(
        "--where", metavar="CONDITION",
        help="on columns of the catalog, as in: category == 'Shoes' and price < 50",
    )  # fmt: skip


def item_list(file: str | None) -> list[str] | None:
    """The items of a file that ``--allow`` or ``--deny`` names; None where none is named.

    Raises:
        InputError: It is no table with ``item_id``.
    """
    if file is None:
        return None
    from p5mm.data.tables import id_column, read_table, with_known_names

    table = with_known_names(read_table(file), file, ["item_id"])
    ids: list[str] = id_column(table, file, "item_id").to_pylist()
    return ids


def attributes(section: type) -> dict[str, str]:
    """What a dataclass's docstring says of each of its attributes, each in one line."""
    text = (section.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^        (\w+): ((?:.+\n?(?:            .+\n?)*))", text, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


def keys(sections: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Every dotted key of some sections, with its default and what it means."""
    return [
        (f"{name}.{key.name}", getattr(section, key.name), attributes(type(section))[key.name])
        for name, section in sections.items()
        for key in fields(section)
    ]


def tell_keys(parser: argparse.ArgumentParser, sections: Mapping[str, Any]) -> None:
    """Put every dotted key below a parser's help."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    told = (f"  --{key} {value}\n      {about}" for key, value, about in keys(sections))
    parser.epilog = "\n".join(["keys of the configuration, with their defaults:", *told])


def _dest(section: Any, key: str) -> str:
    return f"{type(section).__name__}.{key}"


def _kind(hint: Any) -> tuple[type, bool]:
    """The type that one word is read as, and whether there may be several words."""
    for part in (hint, *get_args(hint)):
        if get_origin(part) is tuple:
            return str, True
        if part in (int, float, str):
            return part, False
    return str, False
