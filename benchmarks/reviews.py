"""Headlines and stars of reviews: python benchmarks/reviews.py BASE --reviews FILE.

BASE is a folder of `p5mm pretrain --reviews FILE`. Of the last tenth of the reviews in order of
time (--split valid: the tenth before it), which no training has read, headlines are written by
beams, and stars are said. Beside them: the first words of the review, as many as are best on
validation; the headline of the nearest review that was learned from, by TF-IDF cosine; the
commonest headline; the mean rating. Told are ROUGE-1, ROUGE-2 and ROUGE-L (F1, rouge-score,
without stemming) with 95 % intervals over reviews, BLEU-4 (nltk, smoothed), the share of different
headlines, and the root mean square error of the stars. Adds a block to results.md below --runs.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from setting import append, commit, machine
from words import ROUGE, rouge

from p5mm.metrics.intervals import intervals
from p5mm.model.base import read_base
from p5mm.pretraining.reading import Reading
from p5mm.pretraining.review_table import ReviewTable

FIRST = range(1, 16)  # words of a review that may be its headline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--reviews", type=Path, required=True)
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    table = ReviewTable.read(options.reviews)
    base = read_base(options.base)
    reading = Reading(base.t5.eval(), base.tokenizer, base.levels)
    append(_block(options, table, reading), options.runs)


def _block(options: argparse.Namespace, table: ReviewTable, reading: Reading) -> str:
    train, asked = table.part("train"), table.part(options.split)
    lines = [
        f"\n### Reviews: {len(asked):,}, {options.split}; learned from {len(train):,}\n",
        f"    python benchmarks/reviews.py {options.base.name} --reviews {options.reviews.name} "
        f"--split {options.split}",
        f"    {commit()}; {machine()}\n",
        "| headlines | " + " | ".join(ROUGE) + " | bleu-4 | different |",
        "|---" * (len(ROUGE) + 3) + "|",
    ]
    if not any(asked.headlines) or np.isnan(asked.ratings).all():
        raise SystemExit("the reviews asked for need headlines and ratings")
    rows = [row for row, headline in enumerate(asked.headlines) if headline]
    texts, real = [asked.texts[row] for row in rows], [asked.headlines[row] or "" for row in rows]
    first = _best_first(table.part("valid"))
    found = {
        "written": reading.headlines(texts),
        f"first {first} words": [_first(text, first) for text in texts],
        "nearest review's": _nearest(train, texts),
        "the commonest": [_commonest(train)] * len(texts),
    }
    for name, made in found.items():
        cells = [f"{s.value:.4f} [{s.low:.4f}, {s.high:.4f}]" for s in intervals(rouge(real, made))]
        different = len(set(made)) / len(made)
        lines.append(f"| {name} | {' | '.join(cells)} | {bleu(real, made):.4f} | {different:.2f} |")
    return "\n".join([*lines, "", *_stars(train, asked, reading), ""])


def _stars(train: ReviewTable, asked: ReviewTable, reading: Reading) -> list[str]:
    rated = ~np.isnan(asked.ratings)
    texts = [text for text, there in zip(asked.texts, rated, strict=True) if there]
    real = asked.ratings[rated]
    found = {"said": reading.stars(texts), "mean": np.full(len(real), np.nanmean(train.ratings))}
    lines = ["| stars | rmse |", "|---|---|"]
    for name, made in found.items():
        error = intervals(np.square(made - real)[:, None])[0]
        cell = " [{:.4f}, {:.4f}]".format(*np.sqrt([error.low, error.high]))
        lines.append(f"| {name} | {error.value**0.5:.4f}{cell} |")
    return lines


def _first(text: str, words: int) -> str:
    return " ".join(text.split()[:words])


def _best_first(valid: ReviewTable) -> int:
    """As many words as make the best ROUGE-L."""
    pairs = [(h, t) for h, t in zip(valid.headlines, valid.texts, strict=True) if h]
    real = [headline for headline, _ in pairs]
    return max(FIRST, key=lambda n: rouge(real, [_first(t, n) for _, t in pairs])[:, -1].mean())


def _nearest(train: ReviewTable, texts: Sequence[str]) -> list[str]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    kept = [row for row, headline in enumerate(train.headlines) if headline]
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    known = words.fit_transform([train.texts[row] for row in kept])
    best = np.asarray((words.transform(texts) @ known.T).argmax(axis=1)).ravel()
    return [train.headlines[kept[place]] or "" for place in best]


def _commonest(train: ReviewTable) -> str:
    return Counter(h for h in train.headlines if h).most_common(1)[0][0]


def bleu(real: Sequence[str], made: Sequence[str]) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

    references = [[text.lower().split()] for text in real]
    written = [text.lower().split() for text in made]
    score: float = corpus_bleu(references, written, smoothing_function=SmoothingFunction().method1)
    return score


if __name__ == "__main__":
    main()
