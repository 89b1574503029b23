"""The command line: one sub-command a verb; heavy imports wait until a verb is known."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from p5mm import __version__
from p5mm.errors import InputError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted.
    """
    # Threads that spin while they wait make a busy machine ten times slower; read once by torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run is not _train:
        parser.error(f"unknown arguments: {' '.join(rest)}; see p5mm {options.command} --help")
    options.overrides = rest
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        _import(options.modules)
        options.run(options)
    except InputError as error:
        return _fail(str(error), WRONG_USE)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it stopped", INTERRUPTED)
    except BrokenPipeError:
        return FAILED
    except (OSError, MemoryError, ImportError) as error:
        return _fail(f"{type(error).__name__}: {error}", FAILED)
    return DONE


def _import(modules: Sequence[str]) -> None:
    sys.path.insert(0, "")
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(f"--import {module}: {error}") from error
    sys.path.remove("")


def _fail(message: str, code: int) -> int:
    print(f"p5mm: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_index, _add_align, _add_search, _add_train, _add_evaluate, _add_recommend,
        _add_score, _add_demo,
    ):  # fmt: skip
        add(commands)
    return parser


Run = Callable[[argparse.Namespace], None]


def _command(commands: "Commands", name: str, run: Run, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_index(commands: "Commands") -> None:
    parser = _command(commands, "index", _index, "make a searchable index of a catalog")
    parser.add_argument("catalog", help="Parquet, CSV, TSV or JSONL, or a folder of pictures")
    parser.add_argument("--out", required=True, help="folder of the index")
    parser.add_argument("--images", help="folder of the pictures")
    parser.add_argument("--image-encoder", default="embedded", metavar="SPEC")
    parser.add_argument("--text-encoder", default="embedded", metavar="SPEC")
    parser.add_argument(
        "--encoder", action="append", default=[], metavar="SPEC", help="a further encoder"
    )
    parser.add_argument("--text", nargs="+", metavar="COLUMN", help="columns that make the text")
    parser.add_argument("--workers", type=int, default=-1, help="processes that decode pictures")
    parser.add_argument("--align", action="store_true", help="let text find pictures")


def _index(options: argparse.Namespace) -> None:
    from p5mm.index_commands import index

    index(
        options.catalog, options.out, options.images, options.image_encoder,
        options.text_encoder, options.encoder, options.text, options.workers, options.align,
    )  # fmt: skip


def _add_align(commands: "Commands") -> None:
    text = "let text find pictures: train two small heads on the index's own pairs"
    parser = _command(commands, "align", _align, text)
    parser.add_argument("index", help="folder of the index")
    parser.add_argument("--seed", type=int, default=0)


def _align(options: argparse.Namespace) -> None:
    from p5mm.index_commands import align

    align(options.index, options.seed)


def _add_search(commands: "Commands") -> None:
    parser = _command(commands, "search", _search, "search an index by text, picture or item")
    parser.add_argument("index", help="folder of the index")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text")
    query.add_argument("--image", metavar="FILE")
    query.add_argument("--item", metavar="ID")
    parser.add_argument("-k", "--k", type=int, default=10, help="hits")
    parser.add_argument("--json", action="store_true", help="JSON on standard output, alone")


def _search(options: argparse.Namespace) -> None:
    from p5mm.index_commands import search

    search(options.index, options.text, options.image, options.item, options.k, options.json)


def _add_train(commands: "Commands") -> None:
    text = "train a model by a YAML; dotted keys such as --train.epochs 3 override it"
    parser = _command(commands, "train", _train, text)
    parser.add_argument("config", help="YAML file; the presets are in configs/")
    parser.add_argument("--data", help="folder of the data (data.root)")
    parser.add_argument("--out", required=True, help="folder of the model")


def _train(options: argparse.Namespace) -> None:
    from p5mm.model_commands import train

    train(options.config, options.out, options.data, options.overrides)


def _add_evaluate(commands: "Commands") -> None:
    text = "rank held-out items among the whole catalog, beside the baselines"
    parser = _command(commands, "evaluate", _evaluate, text)
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("--split", choices=["valid", "test"], default="test")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - is stdout")
    parser.add_argument(
        "--html", metavar="FILE", help="write the report as one HTML page, to be read by people"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data: shows the page's pictures of items"
    )
    parser.add_argument(
        "--ablate", action="store_true", help="also rank with each modality absent, and shuffled"
    )  # fmt: skip


def _evaluate(options: argparse.Namespace) -> None:
    from p5mm.model_commands import evaluate_model

    report = evaluate_model(
        options.model, options.split, options.json,
        ablate=options.ablate, html=options.html, data=options.data,
    )  # fmt: skip
    print(report.table(), file=sys.stderr if options.json or options.html else sys.stdout)


def _add_recommend(commands: "Commands") -> None:
    parser = _command(commands, "recommend", _recommend, "recommend items to users, as Parquet")
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "--users", required=True, metavar="FILE|all",
        help="table with user_id, and history (lists of item ids) for new users",
    )  # fmt: skip
    parser.add_argument("-k", "--k", type=int, default=10, help="items a user")
    parser.add_argument("--out", required=True, metavar="FILE", help="Parquet to write")
    parser.add_argument("--keep-seen", action="store_true", help="also what a user has taken")


def _recommend(options: argparse.Namespace) -> None:
    from p5mm.model_commands import recommend

    recommend(options.model, options.users, options.out, options.k, not options.keep_seen)


def _add_score(commands: "Commands") -> None:
    parser = _command(commands, "score", _score, "score pairs of a user and an item")
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("pairs", help="table with item_id, and user_id or history")
    parser.add_argument("--out", required=True, metavar="FILE", help="Parquet to write")


def _score(options: argparse.Namespace) -> None:
    from p5mm.model_commands import score

    score(options.model, options.pairs, options.out)


def _add_demo(commands: "Commands") -> None:
    parser = _command(commands, "demo", _demo, "the whole road on embedded data, with a report")
    parser.add_argument("--out", default="p5mm-demo", metavar="DIR")
    parser.add_argument("--data", choices=["stickers", "movies"], default="stickers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a small shop, a short training")


def _demo(options: argparse.Namespace) -> None:
    from p5mm.demo.run import run_demo

    run_demo(options.out, options.data, options.seed, options.quick)
