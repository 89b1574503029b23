"""Explain why an item fits a user: what of its score each item of the history carries."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from p5mm.commands.output import add_force, is_page, page_module, put, target
from p5mm.errors import InputError
from p5mm.terminal import say

if TYPE_CHECKING:
    from p5mm.serving.explanation import Explanation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm explain``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("--user", metavar="ID", help="a user of the log")
    parser.add_argument(
        "--history", nargs="+", metavar="ID", help="items in order of time, for somebody else"
    )
    parser.add_argument(
        "--item", metavar="ID", help="the item (default: the first that is recommended)"
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="items of the history told (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output, alone")
    parser.add_argument("--html", metavar="FILE", help="draw it: history, arrows, weights")
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the data: shows the page's pictures of items"
    )
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Leave each item of the history out, and tell what is lost of the score."""
    from p5mm.serving.recommender import Recommender

    _check(options)
    page = None if options.html is None else page_module("p5mm.serving.explanation_page")
    recommender = Recommender.load(options.model)
    history = options.history
    users = None if options.user is None else [options.user]
    item = options.item
    if item is None:
        asked = None if history is None else [history]
        first = recommender.recommend(users, histories=asked, k=1)
        if not first.num_rows:
            raise InputError("nothing is left to recommend; name an item with --item ID")
        item = first["item_id"][0].as_py()
    explanation = recommender.explain(item, options.user, history=history)
    if page is not None:
        from p5mm.evaluation.page import pictured_catalog

        catalog = pictured_catalog(recommender.model, options.data)
        put(page.explanation_page(explanation, catalog), options.html)
        say(f"{options.html}: why '{explanation.item_id}'")
    if options.json:
        print(json.dumps(_described(explanation)))
        return
    catalog = recommender.model.catalog
    titles = dict(zip(catalog.item_ids, catalog.titles, strict=True))
    print(_table(explanation, titles, options.top))


def _check(options: argparse.Namespace) -> None:
    if options.user is None and options.history is None:
        raise InputError("nobody asks: give --user ID, or --history ID ID ...")
    if options.top < 1:
        raise InputError(f"--top is {options.top}; give 1 or more")
    if options.data is not None and options.html is None:
        raise InputError("--data gives the pictures of a page; name the page with --html FILE")
    if options.html is not None:
        target(options.html, is_page, "earlier page", options.force)


def _described(explanation: "Explanation") -> dict[str, Any]:
    told = asdict(explanation)
    for reason, made in zip(told["reasons"], explanation.reasons, strict=True):
        reason["words"] = made.words
    return told


def _table(explanation: "Explanation", titles: dict[str, str], top: int) -> str:
    from p5mm.errors import shown

    item = explanation.item_id
    parts = ", ".join(f"{name} {value:+.3f}" for name, value in explanation.parts.items())
    lines = [f"{shown(item)}  {shown(titles[item])}", f"score {explanation.score:.3f}: {parts}"]
    reasons = explanation.reasons[:top]
    if not reasons:
        return "\n".join([*lines, "the history is empty"])
    lines += ["", "lost without it"]
    width = max(len(shown(reason.item_id)) for reason in reasons)
    for reason in reasons:
        name, title = shown(reason.item_id), shown(titles[reason.item_id])
        why = f"  ({reason.words})" if reason.words else ""
        lines.append(f"{reason.carries:+8.3f}  {name:<{width}}  {title}{why}")
    return "\n".join(lines)
