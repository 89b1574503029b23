"""Write a model as what recommends without torch."""

import argparse
from pathlib import Path

from p5mm.commands.output import add_force
from p5mm.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm export``."""
    parser.add_argument("model", help="folder of the model")
    parser.add_argument(
        "--onnx", required=True, metavar="OUT",
        help="folder to write: networks in ONNX, tables as arrays; p5mm recommend OUT runs it by "
        "onnxruntime, without torch",
    )  # fmt: skip
    parser.add_argument(
        "--int8", action="store_true",
        help="matrices and vectors in bytes: smaller and faster, a little less true",
    )  # fmt: skip
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Write the networks of a model, its vectors and its log to a folder of their own."""
    from p5mm.portable.export import check_target, write_export
    from p5mm.serving.folder import read_model

    out = Path(options.onnx)
    check_target(out, options.force)
    write_export(read_model(Path(options.model)), out, options.int8, options.force)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    say(f"{out}: {size / 2**20:.1f} MB{', in bytes' if options.int8 else ''}")
