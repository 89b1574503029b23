"""Headlines of reviews that nobody has written yet: python benchmarks/headlines.py --reviews FILE.

FILE is a log with headlines and times, as musical-instruments/reviews.jsonl.gz. Trains a model a
seed on what was taken before eight tenths of all interactions, with the task review; items have
ids alone, or with --words the words that tell most in the reviews of training. Then headlines are
written, by beams, of every review of the last tenth in order of time (--split valid: of the tenth
before it), from the user's history until that tenth and the item; the review's own text is not
read. Beside them stand four ways without a model, which know all that was written before that
tenth: the commonest headline; the user's last headline; the commonest words of the item's
headlines, as many as are best on validation; of the item's reviews the headline of the one that is
most like the user's reviews, by TF-IDF cosine. Where these know nothing, the commonest stands.
Told are ROUGE-1, ROUGE-2 and ROUGE-L (F1, rouge-score, without stemming) with 95 % intervals over
reviews, each with the mean of the seeds; BLEU-4 (nltk, smoothed), and the share of different
headlines. Adds a block to results.md below --runs.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from reviews import bleu
from setting import append, commit, finished, leakage, machine
from words import ROUGE, rouge

from p5mm.config import Config, DataConfig, EncoderConfig, TrainConfig
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.data.split import TEST_FROM, VALID_FROM
from p5mm.metrics.intervals import Interval, intervals, paired
from p5mm.ranking.headlines import REVIEW
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.recommender import Recommender

PASSES, RATE = 100, 6e-3  # of the decoder: there are nine steps in each, so they must be long ones
WORDS = 24  # of an item's text
MOST = range(1, 8)  # words of an item that may be its headline
EXAMPLES = 8
MODEL, COMMONEST = "written", "the commonest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--words", action="store_true", help="items have texts")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    log = Interactions.read(options.reviews)
    models = [_model(options, log, seed) for seed in options.seeds]
    append(_block(options, log, models), options.runs)


@dataclass(frozen=True)
class Asked:
    """The reviews of a tenth, and all that was written before it.

    Attributes:
        before: Columns of the log, in order of time.
        rows: The same of those that are asked for, each with a headline.
    """

    before: dict[str, list[str]]
    rows: dict[str, list[str]]

    @classmethod
    def of(cls, log: Interactions, split: str) -> "Asked":
        """The reviews of a part of a split by time."""
        times = log.table["timestamp"].to_numpy()
        start, end = (
            float(np.quantile(times, at, method="higher")) if at < 1 else np.inf
            for at in ((VALID_FROM, TEST_FROM) if split == "valid" else (TEST_FROM, 1.0))
        )
        worded = np.array([bool(h and h.strip()) for h in log.table["headline"].to_pylist()])
        order = np.argsort(times, kind="stable")
        earlier = order[(times[order] < start) & worded[order]]
        asked = order[(times[order] >= start) & (times[order] < end) & worded[order]]
        return cls(_columns(log, earlier), _columns(log, asked))

    @property
    def real(self) -> list[str]:
        """What was written."""
        return self.rows["headline"]

    @cached_property
    def commonest(self) -> str:
        """The commonest headline before."""
        return Counter(self.before["headline"]).most_common(1)[0][0]

    def last_of_users(self) -> list[str]:
        """Each user's last headline."""
        last = dict(zip(self.before["user_id"], self.before["headline"], strict=True))
        return [last.get(user, self.commonest) for user in self.rows["user_id"]]

    def words_of_items(self, most: int) -> list[str]:
        """The commonest words of each item's headlines, the commonest first."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for item, text in zip(self.before["item_id"], self.before["headline"], strict=True):
            counts[item].update(text.lower().split())
        named = {item: " ".join(w for w, _ in of.most_common(most)) for item, of in counts.items()}
        return [named.get(item, self.commonest) for item in self.rows["item_id"]]

    def nearest_of_items(self) -> list[str]:
        """Of each item's reviews the headline of that most like those of the user."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        known = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(self.before["review"])
        of_users, of_items = (_places(self.before[name]) for name in ("user_id", "item_id"))
        found = []
        for user, item in zip(self.rows["user_id"], self.rows["item_id"], strict=True):
            theirs, own = of_items.get(item, []), of_users.get(user, [])
            if not theirs or not own:
                found.append(self.commonest)
                continue
            alike = np.asarray(known[theirs] @ known[own].sum(axis=0).T).ravel()
            found.append(self.before["headline"][theirs[int(alike.argmax())]])
        return found


def _columns(log: Interactions, rows: np.ndarray) -> dict[str, list[str]]:
    table = log.table.take(pa.array(rows))
    return {n: table[n].to_pylist() for n in ("user_id", "item_id", "review", "headline")}


def _places(ids: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(ids):
        found[one].append(place)
    return found


def _model(options: argparse.Namespace, log: Interactions, seed: int) -> TrainedModel:
    text = "embedded" if options.words else "none"
    config = Config(
        data=DataConfig(split="time"),
        encoders=EncoderConfig(image="none", text=text),
        train=TrainConfig(tasks={REVIEW: 1.0}, task_epochs=PASSES, learning_rate=RATE, seed=seed),
    )
    folder = options.runs / f"headlines{'-words' * options.words}-{seed}"
    if (model := finished(folder, config)) is not None:
        return model
    print(f"training {folder}", flush=True)
    dataset = Dataset(_catalog(log, options.words), log, log)
    Recommender.fit(dataset, config, checkpoint=folder / "checkpoint").save(folder)
    return finished(folder, config)


def _catalog(log: Interactions, worded: bool) -> Catalog:
    """Ids alone, or with what tells an item's training reviews from those of others."""
    ids = sorted(log.item_ids)
    if not worded:
        return Catalog.from_table(pa.table({"item_id": ids}))
    from sklearn.feature_extraction.text import TfidfVectorizer

    read = Asked.of(log, "valid").before  # what is before validation is what is learned from
    places = _places(read["item_id"])
    texts = [" ".join(read["review"][place] for place in places.get(item, [])) for item in ids]
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english")
    weights, names = words.fit_transform(texts), words.get_feature_names_out()
    kept = [
        " ".join(names[row.indices[np.argsort(-row.data, kind="stable")[:WORDS]]]) or None
        for row in weights
    ]
    return Catalog.from_table(pa.table({"item_id": ids, "words": kept}))


def _block(options: argparse.Namespace, log: Interactions, models: list[TrainedModel]) -> str:
    asked = Asked.of(log, options.split)
    pairs = pa.table({"item_id": asked.rows["item_id"], "history": _histories(models[0], asked)})
    written = [Recommender(of).headlines(pairs)["headline"].to_pylist() for of in models]
    found = {MODEL: written} | {name: [of] for name, of in _simple(log, asked).items()}
    scores = {
        name: np.mean([rouge(asked.real, texts) for texts in of], axis=0)
        for name, of in found.items()
    }
    seeds = " ".join(map(str, options.seeds))
    lines = [
        f"\n### Headlines before the review: {len(asked.real):,}, {options.split}; known before "
        f"{len(asked.before['headline']):,}\n",
        f"    python benchmarks/headlines.py --reviews {options.reviews.name} --split "
        f"{options.split} --seeds {seeds}{' --words' * options.words}",
        f"    {commit()}; {machine()}; leakage: {'; '.join({leakage(of) for of in models})}\n",
        "| headlines | " + " | ".join(ROUGE) + " | bleu-4 | different |",
        "|---" * (len(ROUGE) + 3) + "|",
        *_rows(asked.real, found, scores),
        "",
        *(f"- {a} -> {b}" for a, b in zip(asked.real[:EXAMPLES], written[0], strict=False)),
        "",
    ]
    return "\n".join(lines)


def _histories(model: TrainedModel, asked: Asked) -> list[list[str]]:
    """What each user took before the tenth that is asked about."""
    taken: dict[str, dict[str, None]] = defaultdict(dict)
    for user, item in zip(asked.before["user_id"], asked.before["item_id"], strict=True):
        taken[user].setdefault(item)
    return [list(taken.get(user, ())) for user in asked.rows["user_id"]]


def _simple(log: Interactions, asked: Asked) -> dict[str, list[str]]:
    valid = Asked.of(log, "valid")
    best = max(MOST, key=lambda n: rouge(valid.real, valid.words_of_items(n))[:, -1].mean())
    return {
        COMMONEST: [asked.commonest] * len(asked.real),
        "the user's last": asked.last_of_users(),
        f"the item's {best} commonest words": asked.words_of_items(best),
        "the item's nearest review's": asked.nearest_of_items(),
    }


def _rows(
    real: list[str], found: Mapping[str, list[list[str]]], scores: Mapping[str, np.ndarray]
) -> Iterator[str]:
    for name, of in found.items():
        different = np.mean([len(set(texts)) / len(texts) for texts in of])
        cells = " | ".join(_cell(one) for one in intervals(scores[name]))
        yield f"| {name} | {cells} | {np.mean([bleu(real, t) for t in of]):.4f} | {different:.2f} |"
    for name in list(found)[1:]:
        differences = (
            paired(ours, theirs)
            for ours, theirs in zip(scores[MODEL].T, scores[name].T, strict=True)
        )
        yield f"| {MODEL} - {name} | {' | '.join(_cell(one, '+') for one in differences)} | | |"


def _cell(of: Interval, sign: str = "") -> str:
    return f"{of.value:{sign}.4f} [{of.low:{sign}.4f}, {of.high:{sign}.4f}]"


if __name__ == "__main__":
    main()
