"""Say what an index, a model, an exported one or a base is: items, vectors, room on the disk."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from p5mm.errors import counted
from p5mm.terminal import safe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm status``."""
    parser.add_argument("folder", help="folder of an index, a model, an exported model or a base")
    parser.add_argument("--json", action="store_true", help="JSON on standard output, alone")


def run(options: argparse.Namespace) -> None:
    """Print what is in a folder."""
    about = _status(options.folder)
    if options.json:
        print(json.dumps(about))
        return
    lines = LINES[about["kind"]](about)
    width = max(len(name) for name, _ in lines)
    for name, told in lines:
        print(f"{name:<{width}}  {safe(told)}".rstrip())


def sized(size: float) -> str:
    """A number of bytes as people say it.

    Example:
        >>> sized(1_234), sized(5_600_000_000)
        ('1.23 kB', '5.6 GB')
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def kind_of(folder: str) -> str:
    """What a folder holds: index, model, base or export.

    Raises:
        InputError: None of these.
    """
    from pathlib import Path

    from p5mm.errors import InputError
    from p5mm.indexing.storage.manifest import is_index

    if is_index(folder):
        return "index"
    for name, kind in (
        ("model.safetensors", "model"), ("base.json", "base"), ("query.onnx", "export"),
    ):  # fmt: skip
        if (Path(folder) / name).is_file():
            return kind
    raise InputError(
        f"{folder} is neither an index nor a model of p5mm; p5mm index CATALOG --out DIR makes "
        "an index, p5mm train CONFIG.yaml --out DIR a model"
    )


def _status(folder: str) -> dict[str, Any]:
    match kind_of(folder):
        case "index":
            from p5mm.indexing.status import index_status as status
        case "model":
            from p5mm.serving.upkeep.status import model_status as status
        case "base":
            from p5mm.model.base import base_status as status
        case _:
            from p5mm.portable.folder import export_status as status
    return status(folder)


def _index_lines(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    kind = "" if about["index_kind"] == "auto" else f", {about['index_kind']} for faiss"
    lines = [("index", f"format {about['format']}, {sized(about['bytes'])}{kind}")]
    empty = about["without_vector"]
    without = f", {empty:,} without a vector" if empty else ""
    lines.append(("items", f"{about['items']:,}{without}"))
    for name, made in about["modalities"].items():
        lines.append(
            (name, f"{counted(made['items'], 'vector')} of {made['dim']} by {made['spec']}")
        )
    if about["text"]:
        lines.append(("text made of", ", ".join(about["text"])))
    lines.append(("alignment", _alignment(about["alignment"])))
    lines += [(f"segment {of['name']}", _segment(of)) for of in about["segments"]]
    if about["quarantined"]:
        lines.append(
            ("quarantined", f"{counted(about['quarantined'], 'value')} (quarantine.parquet)")
        )
    if about["worth_compacting"]:
        back, many = sized(about["bytes_of_deleted"]), len(about["segments"])
        one = f", and makes one of {many} segments" if many > 1 else ""
        lines.append(("advice", f"p5mm compact gives back {back}{one}"))
    return lines


def _segment(about: Mapping[str, Any]) -> str:
    views = ", ".join(
        f"{name} {view['index']}"
        + ("" if view["index"] == "Flat" else f" (recall {view['recall@100']:.3f})")
        for name, view in about["views"].items()
    )
    items, room = counted(about["items"], "item"), sized(about["bytes"])
    return f"{items}{_deleted(about['deleted'])}, {room}; {views or 'no vectors'}"


def _deleted(items: int) -> str:
    return f", {items:,} deleted" if items else ""


def _alignment(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return "none"
    return (
        f"on {report['pairs']:,} pairs; {report['recall_at_1']:.0%} of {report['held_out']:,} held "
        f"out find their picture first, {report['recall_at_10']:.0%} within ten"
    )


def _model_lines(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    tried = ", ".join(f"{name} {value:.4f}" for name, value in about["validation"].items())
    ranks = ", ".join(f"{name} {weight:g}" for name, weight in about["reranker"].items())
    content = ", ".join(about["content"]) or "none"
    index, since = about["index"], about["since"]
    lines = {
        "model": f"format {about['format']}, {sized(about['bytes'])}",
        "items": f"{about['items']:,}, {about['items_in_log']:,} in the log; content: {content}",
        "log": f"{counted(about['interactions'], 'interaction')} of "
        f"{counted(about['users'], 'user')}",
        "since": f"{counted(since['added'], 'item')} added, {since['deleted']:,} deleted; "
        f"{counted(since['later'], 'interaction')}",
        "training": "first day of a shop" if about["first_day"]
        else counted(about["epochs"], "epoch"),
        "validation": f"ndcg@10 of {tried}" if tried else "none",
        "decoder": "ranks" if about["decoder"] else "does not rank",
        "reranker": "likeness of content and of words" if about["likeness"]
        else ranks or "none, the retriever alone ranks",
        "index": "none, candidates are generated" if index is None
        else f"{index['index']} of {counted(index['items'], 'item')}",
    }  # fmt: skip
    return list(lines.items())


def _base_lines(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [("base", f"format {about['format']}, {sized(about['bytes'])}")]
    for shop in about["learned"]:
        told = f"{counted(shop['items'], 'item')}, {counted(shop['users'], 'user')}"
        value = f"validation ndcg@10 by content {shop['ndcg']:.4f}"
        lines.append((f"learned {shop['name']}", f"{told}; {value}"))
    lines.append(("content", ", ".join(about["content"])))
    return [*lines, ("writes", ", ".join(about["words"]) or "nothing")]


def _export_lines(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    numbers = "bytes" if about["int8"] else "floats"
    items, content = f"{about['items']:,}{_deleted(about['deleted'])}", ", ".join(about["content"])
    return [
        ("exported model", f"format {about['format']}, {sized(about['bytes'])}; {numbers}"),
        ("items", f"{items}; content: {content or 'none'}"),
        ("decoder", "ranks" if about["decoder"] else "does not rank"),
    ]


LINES = {
    "index": _index_lines, "model": _model_lines, "base": _base_lines, "export": _export_lines,
}  # fmt: skip
