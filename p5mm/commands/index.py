"""Make a searchable index of a catalog."""

import argparse

from p5mm.commands.options import add_engine, add_options, options_of
from p5mm.commands.output import add_force
from p5mm.config import DataConfig, EncoderConfig

DATA = {"images": "--images", "text": "--text"}
ENCODERS = {
    "image": "--image-encoder",
    "text": "--text-encoder",
    "others": "--encoder",
    "workers": "--workers",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm index``."""
    parser.add_argument("catalog", help="Parquet, CSV, TSV or JSONL, or a folder of pictures")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the index")
    add_options(parser, DataConfig(), DATA)
    add_options(parser, EncoderConfig(), ENCODERS)
    parser.add_argument("--align", action="store_true", help="let text find pictures")
    add_engine(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Encode a catalog and write its index."""
    from p5mm.cluster import Cluster
    from p5mm.data.catalog import Catalog
    from p5mm.indexing.build import build_index
    from p5mm.indexing.folder import check_target

    cluster = Cluster.of(options.engine, options.modules)
    check_target(options.out, options.force)
    data = options_of(options, DataConfig(), DATA)
    encoders = options_of(options, EncoderConfig(), ENCODERS)
    catalog = Catalog.read(options.catalog, images=data.images, text=data.text)
    build_index(catalog, options.out, encoders, options.align, options.force, cluster)
