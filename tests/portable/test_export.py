"""What is exported, what cannot be, and what stands in the way."""

import importlib
import json
from dataclasses import replace

import pytest

from p5mm.errors import InputError
from p5mm.portable.export import write_export
from p5mm.portable.packages import package


def test_numbers_are_those_of_the_model(whole, exported, in_bytes):
    settings = json.loads((exported / "config.json").read_text())["settings"]
    parts = {"decoder": 0.7, "together": 2.0, "content": {"style": 0.5}}
    assert settings["weights"] == parts
    assert settings["candidates"] == 14
    assert settings["lift"] == 0.5
    assert settings["soft_tokens"] == whole.network.items.k
    assert json.loads((in_bytes / "config.json").read_text())["settings"]["int8"]


def test_a_model_without_reranker_needs_no_decoder(whole, tmp_path, agree):
    from p5mm.portable.recommender import PortableRecommender
    from p5mm.serving.recommender import Recommender

    bare = replace(whole, fitted=replace(whole.fitted, weights={}))
    write_export(bare, tmp_path / "bare")
    assert not (tmp_path / "bare" / "rank.onnx").exists()
    found = PortableRecommender.load(tmp_path / "bare").recommend(k=20)
    agree(Recommender(bare).recommend(k=20), found)


def test_models_that_rank_otherwise_are_refused(whole, tmp_path):
    retrieval = replace(whole.config.retrieval, generate=True)
    writes = replace(whole, config=replace(whole.config, retrieval=retrieval))
    with pytest.raises(InputError, match="generates its candidates"):
        write_export(writes, tmp_path / "out")
    likes = replace(whole, fitted=replace(whole.fitted, likeness=True))
    with pytest.raises(InputError, match="first day"):
        write_export(likes, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_is_no_export_stays(whole, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is no exported model of p5mm alone"):
        write_export(whole, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_missing_package_is_told_with_the_pip_line(whole, exported, tmp_path, monkeypatch):
    from p5mm.portable.folder import read_export

    real = importlib.import_module

    def without(name):
        if name.startswith("onnxruntime"):
            raise ImportError(f"No module named '{name}'", name=name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", without)
    told = r"'onnxruntime' is not installed.*pip install \"p5mm\[onnx\]\""
    for work in (lambda: package("onnxruntime"), lambda: write_export(whole, tmp_path / "out"),
                 lambda: read_export(exported)):  # fmt: skip
        with pytest.raises(InputError, match=told):
            work()
    assert not (tmp_path / "out").exists()
