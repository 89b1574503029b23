"""Make a searchable index of a catalog, or bring one up to it."""

import argparse

from p5mm.commands.options import add_engine, add_options, options_of
from p5mm.commands.output import add_force
from p5mm.config import DataConfig, EncoderConfig
from p5mm.terminal import safe, say

DATA = {"images": "--images", "text": "--text"}
ENCODERS = {
    "image": "--image-encoder",
    "text": "--text-encoder",
    "others": "--encoder",
    "workers": "--workers",
    "load_seconds": "--load-seconds",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm index``."""
    parser.add_argument("catalog", help="Parquet, CSV, TSV or JSONL, or a folder of pictures")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the index")
    add_options(parser, DataConfig(), DATA)
    add_options(parser, EncoderConfig(), ENCODERS)
    parser.add_argument(
        "--index", metavar="KIND",
        help="what searches: auto (by size, the default), exact, ivf, hnsw, ivf-fp16, ivf-sq8, or "
        "the memory that it may take, such as 2GB; an index keeps its kind where none is given",
    )  # fmt: skip
    parser.add_argument("--align", action="store_true", help="let text find pictures")
    add_engine(parser)
    parser.add_argument(
        "--dry-run", action="store_true",
        help="say what would change and what it would cost; write nothing",
    )  # fmt: skip
    parser.add_argument(
        "--list", action="store_true",
        help="the items that change on standard output: + added, ~ changed, - removed",
    )  # fmt: skip
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Encode what is new in a catalog, and write its index."""
    from p5mm.cluster import Cluster
    from p5mm.data.catalog import Catalog
    from p5mm.indexing.build import build_index, foreseen
    from p5mm.indexing.storage.folder import check_target

    cluster = Cluster.of(options.engine, options.modules)
    check_target(options.out, options.force)
    data = options_of(options, DataConfig(), DATA)
    encoders = options_of(options, EncoderConfig(), ENCODERS)
    catalog = Catalog.read(options.catalog, images=data.images, text=data.text)
    if options.dry_run:
        change, costs = foreseen(catalog, options.out, encoders, options.force, options.index)
        say(str(change), *map(str, costs), f"{options.out}: nothing was written (--dry-run)")
    else:
        change = build_index(
            catalog, options.out, encoders, options.align, options.force, cluster, options.index
        )
    if options.list:
        for line in change.lines():
            print(safe(line))
