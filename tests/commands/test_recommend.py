"""p5mm recommend from outside: who may be shown what."""

import pyarrow.parquet as pq
import pytest

from p5mm.commands.main import main
from p5mm.serving.recommender import Recommender


@pytest.fixture
def model(toy, tmp_path):
    Recommender(toy).save(tmp_path / "model")
    return tmp_path / "model"


def run(*arguments):
    return main([str(one) for one in arguments])


def wrong_use(capsys, *arguments):
    """The message of a command that must end with exit code 2."""
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_recommend_shows_what_may_be_shown(model, tmp_path, capsys):
    out, users = tmp_path / "limited.parquet", tmp_path / "limited.jsonl"
    (tmp_path / "allow.csv").write_text("item_id\nr0s1\nr0s2\nr0s3\nr0s4\n")
    (tmp_path / "deny.csv").write_text("item_id\nr0s4\n")
    users.write_text(
        '{"user_id": "a", "history": ["r1s1"]}\n'
        '{"user_id": "b", "history": ["r1s1"], "deny": ["r0s1"]}\n'
        '{"user_id": "c", "history": ["r1s1"], "allow": ["r0s2", "r0s4", "r2s2"]}\n'
    )
    arguments = ["recommend", model, "--users", users, "--out", out]
    limits = ["--allow", tmp_path / "allow.csv", "--deny", tmp_path / "deny.csv"]
    assert run(*arguments, *limits) == 0
    found = {}
    for row in pq.read_table(out).to_pylist():
        found.setdefault(row["user_id"], set()).add(row["item_id"])
    assert found == {"a": {"r0s1", "r0s2", "r0s3"}, "b": {"r0s2", "r0s3"}, "c": {"r0s2"}}
    users.write_text('{"user_id": "a", "allow": "r0s1"}\n')
    assert "the allow 'r0s1' in row 1" in wrong_use(capsys, *arguments)
    users.write_text('{"user_id": "a", "deny": ["r0s1"]}\n{"user_id": "a", "deny": []}\n')
    assert "'a' stands there twice" in wrong_use(capsys, *arguments)
