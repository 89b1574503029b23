"""The commands from outside: files in, files out, exit codes."""

import json
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import p5mm
from p5mm.commands.main import main

HEAVY = ("torch", "transformers", "faiss", "timm", "open_clip", "PIL", "numpy", "pyarrow")
COMMANDS = (
    "index", "align", "search", "status", "delete", "compact", "duplicates", "pretrain", "train",
    "evaluate", "recommend", "score", "explain", "demo",
)  # fmt: skip
CONFIG = """\
data: {reader: tables}
encoders: {text: toy, others: ["vector:style"], workers: 0}
model: {d_model: 32, layers: 1, max_history: 8}
train: {epochs: 2, positions: 128, precision: fp32}
"""


@pytest.fixture(scope="module")
def folder(toys, tmp_path_factory):
    """A shop on disk and its config."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "shop").mkdir()
    pq.write_table(toys.toy_catalog().table, folder / "shop" / "catalog.parquet")
    names = ["user_id", "item_id", "timestamp", "rating"]
    columns = [list(column) for column in zip(*toys.toy_rows(), strict=True)]
    pq.write_table(pa.table(columns, names=names), folder / "shop" / "interactions.parquet")
    (folder / "c.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    arguments = ["train", str(folder / "c.yaml"), "--data", str(folder / "shop"),
                 "--out", str(folder / "model"), "--train.epochs", "3"]  # fmt: skip
    assert main(arguments) == 0
    return folder / "model"


def run(*arguments):
    """The exit code of a command."""
    try:
        return main([str(one) for one in arguments])
    except SystemExit as error:
        return error.code


def test_train_takes_data_and_overrides(model):
    about = json.loads((model / "config.json").read_text())
    assert about["config"]["train"]["epochs"] == 3
    assert len(about["fitted"]["log"]) == 3
    assert not (model / "checkpoint").exists()


def test_recommend_for_all(model, folder):
    out = folder / "all.parquet"
    assert run("recommend", model, "--users", "all", "--k", 4, "--out", out) == 0
    table = pq.read_table(out)
    assert table.column_names == ["user_id", "item_id", "score", "rank"]
    assert table.num_rows == 4 * 80


def test_recommend_for_a_file_of_strangers_and_of_known_users(model, folder):
    out = folder / "some.parquet"
    rows = [{"user_id": "new", "history": ["r0s1", "r0s2"]}, {"user_id": "bare", "history": []}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "new.parquet")
    assert run("recommend", model, "--users", folder / "new.parquet", "-k", 3, "--out", out) == 0
    table = pq.read_table(out)
    assert table["user_id"].to_pylist() == ["new"] * 3 + ["bare"] * 3
    assert not {"r0s1", "r0s2"} & set(table["item_id"].to_pylist()[:3])
    (folder / "users.csv").write_text("user_id\nu5\n")
    arguments = ["recommend", model, "--users", folder / "users.csv", "-k", 99, "--out", out]
    assert run(*arguments) == 0
    new = set(pq.read_table(out)["item_id"].to_pylist())
    assert run(*arguments, "--keep-seen") == 0
    assert new < set(pq.read_table(out)["item_id"].to_pylist())


def test_histories_as_lists_as_json_and_the_logs(model, folder):
    """No history means the log's; "11" is no history of two items."""
    out = folder / "mixed.parquet"
    users = folder / "mixed.csv"
    users.write_text('user_id,history\nu5,\nnew,"[""r0s1"", ""r0s2""]"\nbare,[]\n')
    assert run("recommend", model, "--users", users, "-k", 3, "--out", out) == 0
    mixed = pq.read_table(out)
    assert mixed["user_id"].to_pylist() == ["u5"] * 3 + ["new"] * 3 + ["bare"] * 3
    (folder / "u5.csv").write_text("user_id\nu5\n")
    assert run("recommend", model, "--users", folder / "u5.csv", "-k", 3, "--out", out) == 0
    alone = pq.read_table(out)
    assert mixed.slice(0, 3)["item_id"].equals(alone["item_id"])
    assert not {"r0s1", "r0s2"} & set(mixed["item_id"].to_pylist()[3:6])


def test_a_history_that_is_a_text_is_an_error_that_shows_both_forms(model, folder, wrong_use):
    users = folder / "text.jsonl"
    users.write_text('{"user_id": "a", "history": "11"}\n')
    err = wrong_use("recommend", model, "--users", users, "--out", folder / "t.parquet")
    assert "the history '11' in row 1 is no list of item ids" in err
    assert '["1", "2"]' in err


def test_unknown_ids_are_counted_and_strict_stops(model, folder, capsys, wrong_use):
    users, out = folder / "odd.jsonl", folder / "odd.csv"
    users.write_text(
        '{"user_id": "a", "history": ["r0s1", "nothing"]}\n{"user_id": "nobody"}\n'
        '{"user_id": "u1"}\n'
    )
    arguments = ["recommend", model, "--users", users, "-k", 2, "--out", out]
    assert run(*arguments) == 0
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == (
        ['"a"'] * 2 + ['"u1"'] * 2
    )
    err = capsys.readouterr().err
    assert "1 item not in the catalog, such as 'nothing'" in err
    assert "1 user is not in the log, such as 'nobody'" in err
    assert "such as 'nobody'" in wrong_use(*arguments, "--strict")


def test_score_keeps_the_pairs_in_order(model, folder):
    pairs = pa.table({"user_id": ["u3", "u1", "u3"], "item_id": ["r0s1", "cold", "r2s2"]})
    pq.write_table(pairs, folder / "pairs.parquet")
    assert run("score", model, folder / "pairs.parquet", "--out", folder / "s.parquet") == 0
    scored = pq.read_table(folder / "s.parquet")
    assert scored.drop_columns(["score"]).equals(pairs)
    assert scored["score"].null_count == 0


def test_evaluate_prints_a_table_and_writes_json(model, folder, capsys):
    assert run("evaluate", model, "--json", folder / "r.json") == 0
    found = json.loads((folder / "r.json").read_text())
    assert {"p5mm", "retriever", "popularity", "item-knn", "sasrec"} <= set(found["models"])
    assert 0 < found["models"]["p5mm"]["ndcg@10"]["value"] <= 1
    assert found["protocol"]["split"] == "test"
    assert found["retrieval"]
    assert "popularity" in capsys.readouterr().err


def test_evaluate_ranks_among_seen_items_too(model, folder, capsys):
    numbers, page = folder / "k.json", folder / "k.html"
    assert run("evaluate", model, "--keep-seen", "--json", numbers, "--html", page) == 0
    protocol = json.loads(numbers.read_text())["protocol"]
    assert protocol["seen filtered"] is False
    assert protocol["held out"] == "leave-one-out by time"
    assert "seen items compete" in capsys.readouterr().err
    assert "with those that the user had taken already" in page.read_text()


def test_a_split_by_time_is_a_key_of_training(folder, wrong_use):
    arguments = ["train", folder / "c.yaml", "--data", folder / "shop", "--out", folder / "new"]
    assert "data.split" in wrong_use(*arguments, "--data.split", "tmie")
    told = wrong_use(*arguments, "--data.split", "time")  # the toy shop's times are places
    assert "the log has no times" in told
    assert not (folder / "new").exists()


def test_evaluate_ablates_each_modality(model, folder, capsys):
    assert run("evaluate", model, "--split", "valid", "--ablate", "--json", folder / "a.json") == 0
    names = {f"p5mm, {m} {how}" for m in ("text", "style") for how in ("zero", "shuffled")}
    report = json.loads((folder / "a.json").read_text())
    assert names <= set(report["models"])
    assert {f"p5mm - {name}" for name in names} <= set(report["differences"])
    table = capsys.readouterr().err
    assert all(f"p5mm - {name}" in table for name in names)


def test_evaluate_writes_a_page_beside_the_json(model, folder, capsys):
    page, numbers = folder / "page.html", folder / "page.json"
    arguments = ["evaluate", model, "--html", page, "--data", folder / "shop", "--json", numbers]
    assert run(*arguments) == 0
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    found = json.loads(numbers.read_text())
    assert f"{found['models']['p5mm']['ndcg@10']['value']:.4f}" in html
    assert "the data has no pictures of these items" in html
    assert str(folder) not in html
    assert not list(folder.glob(".*.draft-*"))
    capsys.readouterr()
    assert run("evaluate", model, "--html", "-") == 0
    assert "a saved model keeps no picture files" in capsys.readouterr().out


def test_files_that_evaluate_cannot_write_are_told_before_the_work(
    model, folder, wrong_use, monkeypatch
):
    monkeypatch.setattr("p5mm.evaluation.model_report.evaluate_model", None)  # nobody gets that far
    page, away = folder / "never.html", folder / "none" / "x"

    def message(*arguments):
        return wrong_use("evaluate", model, *arguments)

    assert "a folder that exists" in message("--html", away)
    assert "a folder that exists" in message("--html", page, "--json", away)
    assert "a folder that exists" in message("--html", folder)
    assert "each a file of its own" in message("--html", page, "--json", page)
    assert "name the page with --html FILE" in message("--data", folder / "shop")
    assert "does not exist" in message("--html", page, "--data", folder / "none")
    monkeypatch.setattr("p5mm.files.os.access", lambda *given: False)
    assert "may only be read" in message("--html", page)
    assert not page.exists()


def test_a_page_without_jinja2_is_told_before_the_work(model, folder, wrong_use, monkeypatch):
    monkeypatch.setattr("p5mm.evaluation.model_report.evaluate_model", None)
    for name in ("pages.page", "evaluation.page"):
        monkeypatch.delitem(sys.modules, f"p5mm.{name}", raising=False)
        room, _, leaf = name.partition(".")
        monkeypatch.delattr(sys.modules[f"p5mm.{room}"], leaf, raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page = folder / "never.html"
    assert "pip install jinja2" in wrong_use("evaluate", model, "--html", page)


def test_a_failed_page_leaves_the_old_one(model, folder, monkeypatch):
    page = folder / "old.html"
    page.write_text('<!doctype html><meta name="generator" content="p5mm">old')
    before = page.read_text()

    def full(self, *given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("p5mm.commands.output.Path.write_text", full)
    assert run("evaluate", model, "--html", page) == 1
    assert page.read_text() == before
    assert not list(folder.glob(".old.html.draft-*"))


def test_train_takes_an_ablation(folder, capsys):
    arguments = ["train", folder / "c.yaml", "--data", folder / "shop", "--out", folder / "ablated"]
    assert run(*arguments, "--encoders.ablate.txet", "zero") == 2
    assert "unknown modality to ablate 'txet'; did you mean 'text'" in capsys.readouterr().err
    assert run(*arguments, "--train.epochs", 1, "--encoders.ablate.text", "zero") == 0
    about = json.loads((folder / "ablated" / "config.json").read_text())
    assert about["config"]["encoders"]["ablate"] == {"text": "zero"}
    assert about["fingerprints"]["text"].endswith(":zero")


def test_an_interrupted_training_goes_on(folder, monkeypatch, capsys):
    from p5mm.training import fitting

    arguments = ("train", folder / "c.yaml", "--data", folder / "shop", "--out", folder / "half")
    measured, epochs = fitting.validation_metrics, []

    def killed(*given):
        epochs.append(given)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return measured(*given)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "validation_metrics", killed)
        assert run(*arguments) == 130
    assert "goes on where it stopped" in capsys.readouterr().err
    assert [path.name for path in (folder / "half").iterdir()] == ["checkpoint"]
    assert run(*arguments) == 0
    assert "resuming after epoch 1" in capsys.readouterr().err
    assert (folder / "half" / "model.safetensors").is_file()


def test_wrong_use_is_told_before_anything_is_done(model, folder, wrong_use):
    config, shop, out = folder / "c.yaml", folder / "shop", folder / "not"

    def message(*arguments):
        return wrong_use(*arguments)

    assert "COMMAND" in message()
    assert "unknown command 'trian'; did you mean 'train'" in message("trian")
    assert "--out" in message("train", config)
    assert "unknown arguments: --kk 3" in message("evaluate", model, "--kk", 3)
    assert "there is no config" in message("train", "none.yaml", "--out", out)
    assert "did you mean 'train.epochs'" in message("train", config, "--out", out,
                                                    "--train.epoch", 3)  # fmt: skip
    assert "give its folder with --data" in message("train", config, "--out", out)
    assert "does not exist" in message("train", config, "--data", "none", "--out", out)
    assert "finished model" in message("train", config, "--data", shop, "--out", model)
    assert "is no model of p5mm alone; nothing was written" in message(
        "train", config, "--data", shop, "--out", shop
    )
    assert "no model folder" in message("evaluate", shop)
    assert "invalid choice: 'tset'" in message("evaluate", model, "--split", "tset")
    pairs = shop / "catalog.parquet"
    assert "user_id" in message("score", model, pairs, "--out", folder / "x.parquet")
    assert "a folder that exists" in message("score", model, pairs, "--out", out / "x.parquet")
    users = folder / "strangers.csv"
    users.write_text("user_id\nnobody\n")
    assert "such as 'nobody'" in message(
        "recommend", model, "--users", users, "--out", folder / "x.parquet"
    )
    assert not out.exists()
    assert not (folder / "x.parquet").exists()


def test_a_failure_of_the_machine_is_exit_code_1(model, folder, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    assert run("recommend", model, "--users", "all", "--out", folder / "x.parquet") == 1
    assert "No space left" in capsys.readouterr().err


def test_a_folder_that_may_only_be_read_is_told_before_the_work(folder, wrong_use, monkeypatch):
    monkeypatch.setattr("p5mm.files.os.access", lambda *given: False)
    monkeypatch.setattr("p5mm.indexing.build.build_index", None)
    monkeypatch.setattr("p5mm.training.fit.fit", None)
    shut = folder / "a" / "new" / "place"
    index = ["index", folder / "shop" / "catalog.parquet"]
    train = ["train", folder / "c.yaml", "--data", folder / "shop"]
    for arguments in (index, train):
        err = wrong_use(*arguments, "--out", shut)
        assert f"{shut} cannot be written: its folder may only be read" in err
    assert not (folder / "a").exists()


def test_a_full_disk_is_told_with_the_file_and_without_python(folder, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "x/vectors.bin")

    monkeypatch.setattr("p5mm.indexing.build.build_index", full)
    assert run("index", folder / "shop" / "catalog.parquet", "--out", folder / "full") == 1
    assert capsys.readouterr().err.endswith("p5mm: x/vectors.bin: No space left on device\n")


def test_no_message_obeys_what_strangers_write(model, folder, wrong_use):
    users = folder / "escape.jsonl"
    users.write_text('{"user_id": "\\u001b[31mred\\nnobody"}\n')
    err = wrong_use("recommend", model, "--users", users, "--out", folder / "e.csv")
    assert "\x1b" not in err
    assert "red nobody" in err
    pairs = folder / "escape.csv"
    pairs.write_text('user_id,item_id\nu1,"\x1b]0;title\x07x"\n')
    err = wrong_use("score", model, pairs, "--out", folder / "e.csv", "--strict")
    assert "\x1b" not in err
    assert "unknown item" in err


def test_version_and_help(capsys):
    for arguments in (["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)):
        assert run(*arguments) == 0
    assert p5mm.__version__ in capsys.readouterr().out


def loaded_by(code):
    """Heavy modules in a fresh interpreter after some code, and its seconds."""
    script = f"import sys, time; t = time.perf_counter()\n{code}\n" \
             "print('T', time.perf_counter() - t, *sys.modules)"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    _, seconds, *modules = done.stdout.splitlines()[-1].split()
    return [name for name in HEAVY if name in modules], float(seconds)


def test_import_and_help_are_light():
    heavy, seconds = loaded_by("import p5mm")
    assert heavy == []
    assert seconds < 0.3
    heavy, seconds = loaded_by(
        "from p5mm.commands.main import main\ntry: main(['train', '-h'])\nexcept SystemExit: pass"
    )
    assert heavy == []
    assert seconds < 1.0


def test_the_public_names_come_when_they_are_asked_for():
    assert {"Recommender", "Catalog", "InputError"} <= set(dir(p5mm))
    assert p5mm.Recommender.__name__ == "Recommender"
    with pytest.raises(AttributeError, match="no attribute 'Recomender'"):
        p5mm.Recomender  # noqa: B018


def test_python_dash_m_is_the_command():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, "-m", "p5mm", "evaluate"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "the following arguments are required: model" in done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1  # torch takes longer
