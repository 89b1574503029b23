"""Rank held-out items among the whole catalog, beside the baselines."""

import argparse
import json
import sys
from pathlib import Path

from p5mm.commands.output import STDOUT, add_force, is_page, page_module, put, target
from p5mm.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm evaluate``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "--split", choices=["valid", "test"], default="test",
        help="which held-out items (default: test)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - is stdout")
    parser.add_argument(
        "--html", metavar="FILE", help="write the report as one HTML page, to be read by people"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data: shows the page's pictures of items"
    )
    parser.add_argument(
        "--ablate", action="store_true", help="also rank with each modality absent, and shuffled"
    )
    parser.add_argument(
        "--keep-seen", action="store_true",
        help="rank among all items; what the history holds is not filtered",
    )  # fmt: skip
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate a model beside the baselines, which are fitted once and kept in its folder."""
    from p5mm.evaluation.model_report import evaluate_model
    from p5mm.serving.folder import read_model

    _check_outputs(options.json, options.html, options.force)
    if options.data is not None and options.html is None:
        raise InputError("--data gives the pictures of a page; name the page with --html FILE")
    page = None if options.html is None else page_module("p5mm.evaluation.page")
    folder = Path(options.model)
    model = read_model(folder)
    catalog = None if page is None else page.pictured_catalog(model, options.data)
    report = evaluate_model(
        model, options.split, folder / "baselines",
        ablate=options.ablate, keep_seen=options.keep_seen,
    )  # fmt: skip
    if options.json is not None:
        put(json.dumps(report.to_json(), indent=2) + "\n", options.json)
    if page is not None:
        put(page.evaluation_page(report, model, catalog), options.html)
    print(report.table(), file=sys.stderr if options.json or options.html else sys.stdout)


def _check_outputs(report: str | None, page: str | None, force: bool) -> None:
    kinds = {report: _is_report, page: is_page}
    given = [file for file in (report, page) if file is not None]
    for file in given:
        if file != STDOUT:
            target(file, kinds[file], "earlier report", force)
    if len({file if file == STDOUT else str(Path(file).resolve()) for file in given}) < len(given):
        raise InputError(f"--json and --html are both {given[0]}; give each a file of its own")


def _is_report(file: Path) -> bool:
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(report, dict) and {"protocol", "models"} <= set(report)
