"""`p5mm pretrain`, and a shop's first day, from the command line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from p5mm.commands.main import main

TASKS = "{title: 0.5}"
CONFIG = """\
data: {reader: tables}
encoders: {text: toy, others: ["vector:style"], workers: 0}
model: {d_model: 32, layers: 1, max_history: 8}
train: {epochs: 2, positions: 128, precision: fp32, learning_rate: 0.005}
"""


@pytest.fixture(scope="module")
def folder(toys, tmp_path_factory):
    """Two shops on disk and their config."""
    folder = tmp_path_factory.mktemp("pretrain")
    names = ["user_id", "item_id", "timestamp", "rating"]
    for shop, users in (("north", 80), ("south", 50)):
        (folder / shop).mkdir()
        pq.write_table(toys.toy_catalog().table, folder / shop / "catalog.parquet")
        rows = [row for row in toys.toy_rows() if int(row[0][1:]) < users]
        table = pa.table([list(column) for column in zip(*rows, strict=True)], names=names)
        pq.write_table(table, folder / shop / "interactions.parquet")
    (folder / "c.yaml").write_text(CONFIG)
    return folder


def pretrained(folder, *more, out="base"):
    shops = ["--data", str(folder / "north"), "--data", str(folder / "south")]
    command = ["pretrain", str(folder / "c.yaml"), *shops, "--out", str(folder / out)]
    command += ["--train.tasks", TASKS, *more]
    return main(command)


@pytest.fixture(scope="module")
def base(folder):
    assert pretrained(folder) == 0
    return folder / "base"


def train(folder, out, *more):
    command = ["train", str(folder / "c.yaml"), "--data", str(folder / "south"),
               "--out", str(folder / out), *more]  # fmt: skip
    return main(command)


def test_a_base_is_told_and_kept(folder, capsys):
    assert pretrained(folder, out="told") == 0
    out = capsys.readouterr().err
    assert "north: validation ndcg@10 " in out
    assert "south: validation ndcg@10 " in out
    about = json.loads((folder / "told" / "base.json").read_text())
    assert [of["name"] for of in about["learned"]] == ["north", "south"]
    assert main(["status", str(folder / "told")]) == 0
    assert "learned north" in capsys.readouterr().out
    assert main(["delete", str(folder / "told"), "r0s1"]) == 2
    assert "a base knows no items" in capsys.readouterr().err
    assert not (folder / "told" / "checkpoint").exists()
    assert str(folder) not in (folder / "told" / "base.json").read_text()


def test_a_finished_base_is_not_pretrained_over(folder, base, capsys):
    assert pretrained(folder) == 2
    assert "holds a finished base" in capsys.readouterr().err


def test_a_shop_trains_from_the_base(folder, base, capsys):
    assert train(folder, "model", "--model.base", str(base)) == 0
    assert "best epoch" in capsys.readouterr().err
    assert main(["recommend", str(folder / "model"), "--users", "all", "--k", "2",
                 "--out", str(folder / "r.csv")]) == 0  # fmt: skip


def test_a_first_day_needs_no_training(folder, base, capsys):
    assert train(folder, "day", "--model.base", str(base), "--train.epochs", "0") == 0
    assert "likeness of content and words rank alike" in capsys.readouterr().err
    assert main(["evaluate", str(folder / "day")]) == 0
    out = capsys.readouterr().out
    p5mm, popularity = (
        float(next(line for line in out.splitlines() if line.startswith(name)).split()[1])
        for name in ("p5mm ", "popularity ")
    )
    assert p5mm > popularity


def test_a_first_day_without_a_base_is_refused(folder, capsys):
    assert train(folder, "no", "--train.epochs", "0") == 2
    assert "--model.base BASE" in capsys.readouterr().err


def test_two_folders_of_one_name_are_refused(folder, capsys):
    shop = str(folder / "north")
    command = ["pretrain", str(folder / "c.yaml"), "--data", shop, "--data", shop]
    command += ["--train.tasks", TASKS]
    assert main([*command, "--out", str(folder / "x")]) == 2
    assert "called 'north'" in capsys.readouterr().err


def test_a_task_of_a_shop_is_none_of_a_base(folder, capsys):
    assert pretrained(folder, "--train.tasks", "{rating: 0.5}", out="z") == 2
    assert "unknown task in train.tasks of a pretraining 'rating'" in capsys.readouterr().err


def test_a_base_of_a_base_is_refused(folder, base, capsys):
    assert pretrained(folder, "--model.base", str(base), out="y") == 2
    assert "leave out model.base" in capsys.readouterr().err


def test_a_first_day_needs_no_log(folder, base, capsys):
    (folder / "bare").mkdir()
    catalog = folder / "south" / "catalog.parquet"
    (folder / "bare" / "catalog.parquet").write_bytes(catalog.read_bytes())
    command = ["train", str(folder / "c.yaml"), "--data", str(folder / "bare"),
               "--data.reader", "auto", "--model.base", str(base)]  # fmt: skip
    assert main([*command, "--train.epochs", "0", "--out", str(folder / "first")]) == 0
    (folder / "visitors.jsonl").write_text('{"user_id": "v", "history": ["r0s1", "r0s2"]}\n')
    out = folder / "visitors.csv"
    assert main(["recommend", str(folder / "first"), "--users", str(folder / "visitors.jsonl"),
                 "--k", "3", "--out", str(out)]) == 0  # fmt: skip
    assert len(out.read_text().splitlines()) == 4
    assert main(["evaluate", str(folder / "first")]) == 2
    assert "nobody" in capsys.readouterr().err
    assert main([*command, "--train.epochs", "1", "--out", str(folder / "second")]) == 2
    assert "no interactions are beside it" in capsys.readouterr().err
