"""The whole road on embedded data, with a report."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``p5mm demo``."""
    parser.add_argument(
        "--out", default="p5mm-demo", metavar="DIR", help="the demo's folder (default: p5mm-demo)"
    )
    parser.add_argument(
        "--data", choices=["stickers", "movies"], default="stickers",
        help="a sticker shop with simulated shoppers, or real people's films (default: stickers)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, help="of the shoppers and the training (default: 0)"
    )
    parser.add_argument("--quick", action="store_true", help="a small shop, a short training")


def run(options: argparse.Namespace) -> None:
    """Run the demo."""
    from p5mm.demo.run import run_demo

    run_demo(options.out, options.data, options.seed, options.quick)
