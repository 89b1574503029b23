"""What shops bring that nobody asked for, from the command line."""

import csv
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from p5mm.commands.main import main
from p5mm.data.tables import read_table
from p5mm.model import base as base_module

CONFIG = """\
data: {reader: tables}
encoders: {text: toy, others: ["vector:style"], workers: 0}
model: {d_model: 32, layers: 1, max_history: 8}
train: {epochs: 1, positions: 128, precision: fp32, learning_rate: 0.005}
"""
WORDS = "{title: 0.5, masked: 0.2, matching: 0.2, spans: 0.2, headline: 0.5, stars: 0.5}"
ODD = ["", "   ", "\U0001f600\U0001f680", "word " * 100_000, "a" * 300_000, "</s> <pad>", "\u200b"]


def shop(toys, folder, without=(), odd=False, headlines=False):
    """The toy shop on disk, perhaps without a modality, perhaps with strange texts."""
    folder.mkdir()
    table = toys.toy_catalog().table.drop_columns(list(without))
    if odd:
        titles = [*ODD, *table["title"].to_pylist()[len(ODD) :]]
        table = table.set_column(table.column_names.index("title"), "title", pa.array(titles))
    pq.write_table(table, folder / "catalog.parquet")
    names = ["user_id", "item_id", "timestamp", "rating"]
    log = pa.table(dict(zip(names, zip(*toys.toy_rows(), strict=True), strict=True)))
    if headlines:
        texts = [ODD[n % 9] if n % 9 < len(ODD) else "nice thing" for n in range(len(log))]
        log = log.append_column("headline", pa.array(texts))
    pq.write_table(log, folder / "interactions.parquet")
    return str(folder)


@pytest.fixture(scope="module")
def folder(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "c.yaml").write_text(CONFIG)
    shop(toys, folder / "plain")
    shop(toys, folder / "odd", odd=True, headlines=True)
    with (folder / "reviews.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "headline", "rating", "timestamp"])
        texts = [*ODD, *("a good thing" for _ in range(20))]
        rows.writerows(
            [text, ODD[n % len(ODD)] or "fine", 1 + n % 5, n] for n, text in enumerate(texts)
        )
    return folder


@pytest.fixture(scope="module")
def base(folder):
    """Pretrained on strange texts and strange reviews."""
    assert pretrain(folder, "odd", "plain", "--reviews", str(folder / "reviews.csv")) == 0
    return folder / "base"


def pretrain(folder, one, other, *more, out="base"):
    shops = ["--data", str(folder / one), "--data", str(folder / other)]
    command = ["pretrain", str(folder / "c.yaml"), *shops, "--out", str(folder / out)]
    return main([*command, "--train.tasks", WORDS, *more])


def train(folder, data, out, *more):
    command = ["train", str(folder / "c.yaml"), "--data", str(folder / data)]
    return main([*command, "--out", str(folder / out), *more])


def test_shops_that_lack_each_other_s_modality_and_share_their_ids(toys, folder, capsys):
    shop(toys, folder / "worded", without=["style"])
    shop(toys, folder / "styled", without=["title"])
    only = ["--encoders.others", "[]"]
    for one, other in (("plain", "styled"), ("styled", "plain")):
        assert pretrain(folder, one, other, out=f"{one}-first") == 0
        about = json.loads((folder / f"{one}-first" / "base.json").read_text())
        assert set(about["dims"]) == {"text", "style"}
        first = ["--model.base", str(folder / f"{one}-first"), "--train.epochs", "0"]
        assert train(folder, "styled", f"day-{one}", *first) == 0
        assert train(folder, "worded", f"words-{one}", *first, *only) == 0
    assert "by content alone" in capsys.readouterr().err


def test_a_shop_with_nothing_is_named(toys, folder, capsys):
    shop(toys, folder / "bare", without=["style", "title"])
    assert pretrain(folder, "plain", "bare", "--encoders.others", "[]", out="none") == 2
    assert "bare has neither pictures nor texts nor vectors" in capsys.readouterr().err


def test_strange_texts_are_read_and_the_shop_opens(folder, base, capsys):
    assert train(folder, "odd", "day", "--model.base", str(base), "--train.epochs", "0") == 0
    out = folder / "read.parquet"
    assert main(["review", str(base), str(folder / "reviews.csv"), "--out", str(out)]) == 0
    made = read_table(out)
    assert made.num_rows == len(ODD) + 20
    assert made["headline"].to_pylist()[:2] == [None, None]  # there is nothing to read
    stars = np.array([s for s in made["stars"].to_pylist() if s is not None])
    assert np.isfinite(stars).all()


def test_strange_headlines_are_learned(folder, capsys):
    tasks = ["--train.tasks", "{review: 1.0}"]
    assert train(folder, "odd", "writer", *tasks) == 0
    (folder / "pairs.csv").write_text("user_id,item_id\nu1,r1s2\nu2,r0s0\n")
    out = folder / "written.csv"
    assert main(["review", str(folder / "writer"), str(folder / "pairs.csv"),
                 "--out", str(out)]) == 0  # fmt: skip
    assert read_table(out).num_rows == 2


def test_a_base_of_another_format_is_told_everywhere(folder, base, capsys):
    about = json.loads((base / "base.json").read_text())
    other = folder / "other"
    other.mkdir()
    (other / "base.json").write_text(json.dumps(about | {"p5mm_base": 99}))
    for command in (
        lambda: train(folder, "plain", "x", "--model.base", str(other)),
        lambda: main(["review", str(other), str(folder / "reviews.csv"),
                      "--out", str(folder / "x.csv")]),
    ):  # fmt: skip
        assert command() == 2
        assert "was written in format 99" in capsys.readouterr().err


def test_a_base_larger_than_the_memory_is_told_before_work_starts(
    folder, base, capsys, monkeypatch
):
    monkeypatch.setattr(base_module, "memory", lambda: 1000)
    assert train(folder, "plain", "x", "--model.base", str(base)) == 2
    told = capsys.readouterr().err
    assert "take a smaller base, or a larger machine" in told
    assert "by toy" not in told  # nothing was encoded
    command = ["review", str(base), str(folder / "reviews.csv"), "--out", str(folder / "x.csv")]
    assert main(command) == 2
    assert "of memory for 2 copies" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "item_id,b\n1,2\n1,2,3\n", '{"a": 1}\n'])
def test_a_mistake_ends_a_process_in_order(tmp_path, text):
    """Arrow's threads outlive a read; with memory of Python's they aborted one end in three."""
    path = tmp_path / ("table.jsonl" if text[0] == "{" else "table.csv")
    path.write_text(text)
    command = [sys.executable, "-m", "p5mm", "index", str(path), "--out", str(tmp_path / "index")]
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("p5mm: ")
