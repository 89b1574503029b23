"""p5mm export and recommend --runtime from outside."""

import json

import pyarrow.parquet as pq
import pytest

from p5mm.commands.main import main
from p5mm.serving.recommender import Recommender

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def model(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    Recommender(toy).save(folder)
    return folder


def run(*arguments):
    return main([str(one) for one in arguments])


def test_export_then_recommend(model, tmp_path, capsys, wrong_use):
    out, recs = tmp_path / "exported", tmp_path / "recs.parquet"
    assert run("export", model, "--onnx", out) == 0
    assert f"{out}: " in capsys.readouterr().err
    assert run("recommend", out, "--users", "all", "--k", "5", "--out", recs) == 0
    found, wanted = pq.read_table(recs), Recommender.load(model).recommend(k=5)
    assert found["item_id"].equals(wanted["item_id"])
    assert found["score"].to_pylist() == pytest.approx(wanted["score"].to_pylist(), abs=1e-4)
    asked = ["recommend", out, "--users", "all", "--out", tmp_path / "o.parquet"]
    assert "torch does not run" in wrong_use(*asked, "--runtime", "torch")
    assert "'onnx'? Allowed: onnx, torch" in wrong_use(*asked, "--runtime", "onx")
    (out / "query.onnx").write_bytes(b"")
    assert "query.onnx" in wrong_use(*asked)
    assert "no model folder" in wrong_use("evaluate", out)


def test_a_model_of_another_format_is_refused(model, tmp_path, wrong_use):
    about = json.loads((model / "config.json").read_text())
    old = tmp_path / "old"
    old.mkdir()
    (old / "model.safetensors").write_bytes(b"")
    (old / "config.json").write_text(json.dumps(about | {"p5mm": 3}))
    asked = ["--users", "all", "--out", tmp_path / "o.parquet"]
    assert "written in format 3" in wrong_use("export", old, "--onnx", tmp_path / "x")
    assert "written in format 3" in wrong_use("recommend", old, "--runtime", "onnx", *asked)
    assert not (tmp_path / "x").exists()


def test_the_model_is_never_the_export(model, wrong_use):
    assert "is no exported model" in wrong_use("export", model, "--onnx", model)
    assert (model / "model.safetensors").is_file()
