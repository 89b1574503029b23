"""The command line: one sub-command a verb; heavy imports wait until a verb is known."""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from p5mm import __version__
from p5mm.errors import InputError, unknown
from p5mm.terminal import safe

UPKEEP = ("status", "add", "delete", "update", "compact", "duplicates")
VERBS = (
    "index",
    "align",
    "search",
    *UPKEEP,
    "pretrain",
    "train",
    "evaluate",
    "recommend",
    "score",
    "explain",
    "export",
    "review",
    "demo",
)
ROOMS = {
    "pretrain": "bases",
    "review": "bases",
    **dict.fromkeys(UPKEEP, "upkeep"),
}  # of verbs that are not beside this file
DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted.
    """
    # Threads that spin while they wait make a busy machine ten times slower; read once by torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Python looks for garbage whenever some hundred objects are made, among all that torch made.
    gc.set_threshold(100_000)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = _parser(given)
        options, rest = parser.parse_known_args(given)
        if rest and not options.takes_more:
            parser.error(f"unknown arguments: {' '.join(rest)}; see p5mm {options.verb} --help")
        _run(options, rest)
    except InputError as error:
        return _fail(str(error), WRONG_USE)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it stopped", INTERRUPTED)
    except BrokenPipeError:
        return FAILED
    except (OSError, MemoryError, ImportError) as error:
        return _fail(_told(error), FAILED)
    return DONE


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def _run(options: argparse.Namespace, rest: Sequence[str]) -> None:
    from p5mm.terminal import show_log

    show_log()
    verb = _verb(options.verb)
    if "TORCHELASTIC_RUN_ID" in os.environ and not getattr(verb, "TOGETHER", False):
        raise InputError(
            f"p5mm {options.verb} works in one process, and torchrun starts several; start it "
            "without torchrun. Several machines recommend, score and index by --engine ray"
        )
    _import(options.modules)
    options.overrides = rest
    verb.run(options)


def _import(modules: Sequence[str]) -> None:
    sys.path.insert(0, "")
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(f"--import {module}: {error}") from error
    sys.path.remove("")


def _fail(message: str, code: int) -> int:
    print(f"p5mm: {safe(message)}", file=sys.stderr)
    return code


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The whole command line, with the options of the verb that is given."""
    parser = argparse.ArgumentParser(
        prog="p5mm",
        description="Catalog pictures and texts become soft prompts of a T5 that retrieves and "
        "reranks.",
    )
    parser.add_argument("--version", action="version", version=f"p5mm {__version__}")
    parser.add_argument(
        "--import", dest="modules", action="append", default=[], metavar="MODULE",
        help="import your own module first: encoders and fusions that a model or index asks for",
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    asked = _first_word(given)
    if asked is not None and asked not in VERBS:
        raise unknown("command", asked, VERBS)
    for name in VERBS:
        module = _verb(name)
        about = (module.__doc__ or "").strip()
        verb = verbs.add_parser(name, help=_first_line(about), description=about,
                                allow_abbrev=False)  # fmt: skip
        verb.set_defaults(takes_more=getattr(module, "TAKES_MORE", False))
        if name == asked:
            module.add_arguments(verb)
    return parser


def _first_word(given: Sequence[str]) -> str | None:
    """The verb among the arguments, if there is one."""
    words = iter(given)
    for word in words:
        if word == "--import":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def _verb(name: str) -> ModuleType:
    room = f"{ROOMS[name]}." if name in ROOMS else ""
    return importlib.import_module(f"p5mm.commands.{room}{name}")


def _first_line(about: str) -> str:
    return about.split("\n", 1)[0].rstrip(".")
