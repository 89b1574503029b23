"""Several processes that train together reach what one reaches, and the first alone writes."""

import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from p5mm.commands.main import main
from p5mm.serving.recommender import Recommender
from p5mm.share import Share

SETTINGS = {
    "encoders": {"image": "none", "text": "none", "others": ["vector:style"]},
    "model": {"d_model": 32, "layers": 1, "dropout": 0.0, "id_dropout": 0.0, "max_history": 8},
    "retrieval": {"candidates": 12},
    "train": {
        "epochs": 2, "positions": 100, "learning_rate": 5e-3, "warmup": 10, "precision": "fp32",
        "rank_requests": 9, "tasks": {"sequential": 0.5, "rating": 0.5},
    },
}  # fmt: skip


@pytest.fixture
def shop(toys, tmp_path, monkeypatch):
    """The toy shop in files; positions and requests are odd, so that shares are of unlike sizes."""
    (tmp_path / "shop").mkdir()
    pq.write_table(toys.toy_catalog().table, tmp_path / "shop" / "catalog.parquet")
    lines = ["user_id,item_id,timestamp,rating", *(",".join(map(str, r)) for r in toys.toy_rows())]
    (tmp_path / "shop" / "interactions.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configured(folder, **train):
    settings = SETTINGS | {"train": SETTINGS["train"] | train}
    (folder / "toy.yaml").write_text(yaml.safe_dump(settings))


def together(*arguments, processes=2):
    """A command of p5mm in several processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", str(processes), "-m", "p5mm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def told(folder):
    """Training loss and validation of each epoch, of the retriever and of the decoder."""
    model = Recommender.load(folder).model
    epochs = [*model.training_log, *model.fitted.task_log]
    return [epoch[name] for epoch in epochs for name in ("loss", "score")]


@pytest.mark.parametrize("negatives", [0, 7])
def test_two_processes_reach_the_loss_of_one(shop, negatives):
    """With the whole catalog and with shared negatives; the retriever and two families."""
    pytest.importorskip("accelerate")
    configured(shop, negatives=negatives)
    command = ["train", "toy.yaml", "--data", "shop", "--out"]
    assert main([*command, "one"]) == 0
    done = together(*command, "two")
    assert done.returncode == 0, done.stderr
    assert len(re.findall("^train: 80 histories", done.stderr, re.MULTILINE)) == 1
    assert len(re.findall("^two: done in", done.stderr, re.MULTILINE)) == 1
    alone, shared = told("one"), told("two")
    assert len(alone) == 8
    assert shared == pytest.approx(alone, rel=1e-4)
    assert not (shop / "two" / "checkpoint").exists()


def test_a_mistake_ends_all_processes_without_a_traceback_of_ours(shop):
    """The first finds that the catalog has no vectors while the other waits for it."""
    pytest.importorskip("accelerate")
    configured(shop)
    (shop / "model").mkdir()
    (shop / "model" / "letter.txt").write_text("mine")
    done = together("train", "toy.yaml", "--data", "shop", "--out", "model")
    assert done.returncode != 0
    assert "p5mm: model exists and is no model" in done.stderr
    assert "p5mm/commands/train.py" not in done.stderr


def test_shares_are_all_examples_once():
    for count in (0, 1, 5, 8):
        rows = [row for rank in range(3) for row in Share(rank, 3).rows(count).tolist()]
        assert sorted(rows) == list(range(count))


def test_gradients_are_summed_and_what_nobody_used_has_none():
    """Two processes of torch's own, without a command line."""
    pytest.importorskip("accelerate")
    code = """
import torch
from p5mm.share import Share
share = Share.here()
used, unused, by_one = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
(used * (share.rank + 1)).sum().backward()
if not share.first:
    by_one.sum().backward()
losses = share.summed([used, unused, by_one], {"loss": 0.25, "rating": 1.0 * share.rank})
assert used.grad.tolist() == [3, 3] and by_one.grad.tolist() == [1, 1] and unused.grad is None
assert losses == {"loss": 0.5, "rating": 1.0}, losses
assert share.agreed(lambda: share.rank + 7) == 7
torch.manual_seed(1)
share.part_ways()
drawn = share.agreed(lambda: torch.rand(4))
assert torch.equal(drawn, torch.rand(4)) is False
share.end()
"""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", "--no-python", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_other_verbs_want_one_process_and_training_wants_accelerate(shop, monkeypatch, capsys):
    configured(shop)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["evaluate", "model"]) == 2
    assert "p5mm evaluate works in one process" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert main(["train", "toy.yaml", "--data", "shop", "--out", "model"]) == 2
    assert "type: pip install accelerate" in capsys.readouterr().err
