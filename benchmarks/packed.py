"""Candidates packed behind one history, beside what else scores them.

    python benchmarks/packed.py

A T5 of t5-small's shape with random weights, in this package and in transformers, in float32. One
history of 128 positions and 100 candidates are scored by (ours) the encoder once and all candidates
side by side in one pass of the decoder; (pairs) transformers' encoder and decoder for each pair of
history and candidate, as monoT5 does (Nogueira et al. 2020), eight words a candidate; (beams)
transformers' generate with 20 beams, of 4 and of 10 tokens; eight histories at once likewise. All
take turns; told are medians, the share of the rate at which this machine multiplies matrices, and
how ours grows with candidates, history and batch, with a picture, packed.png, below --runs. Needs
an idle machine and, for the picture, matplotlib: pip install -e ".[benchmarks]".
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from setting import append, commit, machine
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from p5mm.model.t5 import T5, load_t5

HISTORY, CANDIDATES, PROMPT, WORDS = 128, 100, 6, 8
AT_ONCE = (1, 8)  # histories
GROWTH = {
    "candidates": (10, 30, 100, 300, 1000),
    "history": (16, 32, 64, 128, 256, 512),
    "batch": (1, 2, 4, 8),
}
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    torch.manual_seed(0)
    with torch.inference_mode():
        theirs, ours = _pair()
        compared = {each: _compared(theirs, ours, each, options.rounds) for each in AT_ONCE}
        grown, rate = _grown(ours, options.rounds), _rate(ours)
    options.runs.mkdir(parents=True, exist_ok=True)
    _draw(grown, options.runs / "packed.png")
    append(_block(options.rounds, compared, grown, rate), options.runs)


def _pair() -> tuple[T5ForConditionalGeneration, T5]:
    """A T5 of t5-small's shape by transformers, and ours with its weights."""
    theirs = T5ForConditionalGeneration(T5Config(decoder_start_token_id=0)).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return theirs, load_t5(Path(folder)).eval()


def packed(t5: T5, batch: int, history: int, candidates: int) -> Callable[[], Tensor]:
    """Scores ``[batch, candidates]``, the whole way from the history's tokens."""
    d = t5.config.d_model
    x, head = torch.randn(batch, history, d), torch.randn(d)
    asked = torch.randn(batch, 1, PROMPT + candidates, d)
    seen = torch.ones(batch, 1, history, dtype=torch.bool)

    def work() -> Tensor:
        memory = t5.encoder(x, causal=True)
        return t5.decoder(asked, PROMPT, memory, seen)[:, 0, PROMPT:] @ head

    return work


def pairs(t5: T5ForConditionalGeneration, batch: int) -> Work:
    """A logit of each pair, all of them in batches of 20."""
    ids = torch.randint(2, 32_000, (batch * CANDIDATES, HISTORY + WORDS))
    start = torch.zeros(20, 1, dtype=torch.int64)
    return lambda: [
        t5(input_ids=part, decoder_input_ids=start[: len(part)]).logits for part in ids.split(20)
    ]


def beams(t5: T5ForConditionalGeneration, batch: int, tokens: int) -> Work:
    """What 20 beams of each history generate, all of them to the end."""
    ids = torch.randint(2, 32_000, (batch, HISTORY))
    limits = {"min_new_tokens": tokens, "max_new_tokens": tokens}
    return lambda: t5.generate(input_ids=ids, num_beams=20, num_return_sequences=20, **limits)


def medians(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Seconds of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(1 + rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if number:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def _compared(
    theirs: T5ForConditionalGeneration, ours: T5, batch: int, rounds: int
) -> dict[str, float]:
    """Seconds of each way, of so many histories at once."""
    works = {
        "packed": packed(ours, batch, HISTORY, CANDIDATES),
        "pairs": pairs(theirs, batch),
        "20 beams of 4 tokens": beams(theirs, batch, 4),
        "20 beams of 10 tokens": beams(theirs, batch, 10),
    }
    return medians(works, rounds)


def _grown(ours: T5, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds by size, one size changed at a time."""
    usual = {"batch": 1, "history": HISTORY, "candidates": CANDIDATES}
    return {
        what: medians({str(size): packed(ours, **(usual | {what: size})) for size in sizes}, rounds)
        for what, sizes in GROWTH.items()
    }


def _rate(ours: T5) -> float:
    """Share of the machine's matrix rate, both of the same minute."""
    work = packed(ours, 8, HISTORY, CANDIDATES)
    with FlopCounterMode(display=False) as counter:
        work()
    a, b = torch.randn(2048, 512), torch.randn(512, 2048)
    seconds = medians({"ours": work, "matrix": lambda: a @ b}, 15)
    matrix = 2 * 2048 * 512 * 2048 / seconds["matrix"]
    return counter.get_total_flops() / seconds["ours"] / matrix


def _draw(grown: Mapping[str, Mapping[str, float]], path: Path) -> None:
    figure = Figure((9, 3), layout="constrained", dpi=120)
    for axes, (what, seconds) in zip(figure.subplots(1, 3), grown.items(), strict=True):
        sizes = [int(size) for size in seconds]
        axes.plot(sizes, [1e3 * value for value in seconds.values()], marker="o", ms=3)
        axes.set(xlabel=what, ylabel="ms", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(path)


def _block(
    rounds: int,
    compared: Mapping[int, Mapping[str, float]],
    grown: Mapping[str, Mapping[str, float]],
    rate: float,
) -> str:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        "\n### Packed candidates, t5-small's shape\n",
        f"    python benchmarks/packed.py --rounds {rounds}",
        f"    {commit()}; {machine()}; random weights, float32; {HISTORY} positions, {CANDIDATES} "
        "candidates, medians\n",
        "| histories at once | | ms | over packed |",
        "|---|---|---|---|",
        *(
            f"| {batch} | {name} | {1e3 * each:.0f} | {each / seconds['packed']:.1f} x |"
            for batch, seconds in compared.items()
            for name, each in seconds.items()
        ),
        f"\nShare of the machine's matrix rate (8 histories at once): {rate:.0%}. Peak memory of "
        f"the whole run, transformers' model included: {peak:,.0f} MB.",
    ]
    for what, seconds in grown.items():
        told = ", ".join(f"{size}: {1e3 * value:.0f}" for size, value in seconds.items())
        lines.append(f"By {what}, ms: {told}.")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
