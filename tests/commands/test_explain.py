"""p5mm explain from outside."""

import json

import pytest

from p5mm.commands.main import main
from p5mm.serving.recommender import Recommender


@pytest.fixture
def model(toy, tmp_path):
    Recommender(toy).save(tmp_path / "model")
    return tmp_path / "model"


def run(*arguments):
    return main([str(one) for one in arguments])


def test_explain_tells_what_carries_a_score(model, tmp_path, capsys, wrong_use):
    page = tmp_path / "why.html"
    arguments = ["explain", model, "--user", "u1"]
    assert run(*arguments, "--item", "r0s1", "--top", 2, "--html", page) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("r0s1  ")
    assert told[1].startswith("score ")
    assert len(told) == 6
    assert "<svg" in page.read_text()
    assert run(*arguments, "--json") == 0  # the first that is recommended
    found = json.loads(capsys.readouterr().out)
    assert found["user_id"] == "u1"
    assert {"carries", "parts", "relations", "attention", "words"} <= set(found["reasons"][0])
    assert run("explain", model, "--history", "r0s1", "r0s2") == 0
    assert "lost without it" in capsys.readouterr().out
    assert "nobody asks" in wrong_use("explain", model)
    assert "--top is 0" in wrong_use(*arguments, "--top", 0)
    assert "--html" in wrong_use(*arguments, "--data", tmp_path)
    (tmp_path / "mine.html").write_text("mine")
    assert "mine.html" in wrong_use(*arguments, "--html", tmp_path / "mine.html")
