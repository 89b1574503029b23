"""p5mm recommend from outside: who may be shown what."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from p5mm.commands.main import main
from p5mm.serving import job
from p5mm.serving.recommender import Recommender
from p5mm.serving.server import Server


@pytest.fixture
def model(toy, tmp_path):
    Recommender(toy).save(tmp_path / "model")
    return tmp_path / "model"


def run(*arguments):
    return main([str(one) for one in arguments])


def test_recommend_shows_what_may_be_shown(model, tmp_path, wrong_use):
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
    assert "the allow 'r0s1' in row 1" in wrong_use(*arguments)


def people(folder, count, files):
    """Parquet files of people with histories."""
    folder.mkdir()
    rows = [
        {"user_id": f"p{n}", "history": [f"r{n % 4}s{n % 5}", f"r{n % 4}s{n % 5 + 1}"]}
        for n in range(count)
    ]
    for number in range(files):
        part = rows[number * count // files : (number + 1) * count // files]
        pq.write_table(pa.Table.from_pylist(part), folder / f"{number}.parquet")
    return rows


def test_a_folder_of_users_becomes_a_folder_of_parts(model, tmp_path, capsys, monkeypatch):
    """The rows are those of a table at once, in order, wherever a window or a file ends."""
    monkeypatch.setattr(job, "WINDOW", 7)
    rows = people(tmp_path / "users", 40, 3)
    arguments = ["recommend", model, "--users", tmp_path / "users", "--k", "3"]
    assert run(*arguments, "--out", tmp_path / "parts") == 0
    assert "120 rows in 6 parts" in capsys.readouterr().err
    assert run(*arguments, "--out", tmp_path / "one.parquet") == 0
    assert not (tmp_path / "one.parquet.parts").exists()
    wanted = Recommender.load(model).recommend(
        [row["user_id"] for row in rows], histories=[row["history"] for row in rows], k=3
    )
    for found in (pq.read_table(tmp_path / "parts"), pq.read_table(tmp_path / "one.parquet")):
        for column in ("user_id", "item_id", "rank"):
            assert found[column].to_pylist() == wanted[column].to_pylist()
        assert found["score"].to_pylist() == pytest.approx(wanted["score"].to_pylist(), abs=1e-4)
    assert run(*arguments, "--out", tmp_path / "one.csv") == 0
    assert len((tmp_path / "one.csv").read_text().splitlines()) == 121


def test_a_job_goes_on_and_another_is_refused(model, tmp_path, capsys, monkeypatch, wrong_use):
    monkeypatch.setattr(job, "WINDOW", 7)
    people(tmp_path / "users", 40, 1)
    arguments = ["recommend", model, "--users", tmp_path / "users", "--out", tmp_path / "parts"]
    calls, answer = [], Server.answer

    def twice(self, *asked):
        calls.append(asked)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", "parts")
        return answer(self, *asked)

    monkeypatch.setattr(Server, "answer", twice)
    assert run(*arguments) == 1
    assert "No space left" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert len(calls) == 3 + 4  # the two parts that were whole are not made again
    assert run(*arguments) == 0
    assert len(calls) == 7
    assert "holds a job with another options" in wrong_use(*arguments, "--k", "4")
    assert run(*arguments, "--k", "4", "--force") == 0
    assert pq.read_table(tmp_path / "parts").num_rows == 160


def test_scores_of_a_folder_of_pairs(model, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "WINDOW", 7)
    rows = people(tmp_path / "pairs", 40, 3)
    for file in (tmp_path / "pairs").iterdir():
        table = pq.read_table(file)
        pq.write_table(table.append_column("item_id", pa.array(["r1s2"] * len(table))), file)
    assert run("score", model, tmp_path / "pairs", "--out", tmp_path / "scored") == 0
    found = pq.read_table(tmp_path / "scored")
    pairs = [row | {"item_id": "r1s2"} for row in rows]
    wanted = Recommender.load(model).score(pa.Table.from_pylist(pairs))
    assert found["user_id"].to_pylist() == wanted["user_id"].to_pylist()
    assert found["score"].to_pylist() == pytest.approx(wanted["score"].to_pylist(), abs=1e-4)


def test_recommend_where_a_condition_holds(model, tmp_path, wrong_use):
    out = tmp_path / "some.parquet"
    arguments = ["recommend", model, "--users", "all", "--out", out, "--k", "3"]
    assert run(*arguments, "--where", "'ring2' in title") == 0
    assert {item[:2] for item in pq.read_table(out)["item_id"].to_pylist()} == {"r2"}
    assert "cannot be read" in wrong_use(*arguments, "--where", "title =")


def test_no_items_are_refused_and_leave_nothing(model, tmp_path, wrong_use):
    out = tmp_path / "out.parquet"
    assert "k is 0" in wrong_use("recommend", model, "--users", "all", "--k", "0", "--out", out)
    assert not list(tmp_path.glob("out*"))


def test_parts_of_somebody_else_stay(model, tmp_path, wrong_use):
    """Even with --force: what is beside the file that is named is not p5mm's to clear."""
    other = tmp_path / "out.parquet.parts"
    other.mkdir()
    (other / "part-1.parquet").write_text("a thesis")
    arguments = ["recommend", model, "--users", "all", "--out", tmp_path / "out.parquet", "--force"]
    assert "is no job of p5mm" in wrong_use(*arguments)
    assert (other / "part-1.parquet").read_text() == "a thesis"


def test_histories_of_nulls_alone_in_some_windows(model, tmp_path, monkeypatch):
    """The parts of one table have one schema, whatever their windows hold."""
    monkeypatch.setattr(job, "WINDOW", 2)
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number, history in enumerate([None, ["r1s1"]]):
        rows = [{"user_id": f"u{n}", "history": history, "item_id": "r1s2"} for n in range(2)]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{number}.parquet")
    assert run("score", model, folder, "--out", tmp_path / "scored.parquet") == 0
    assert pq.read_table(tmp_path / "scored.parquet").num_rows == 4


def test_the_input_is_never_the_output(model, tmp_path, wrong_use):
    """With --force, too; nor is an output put among the files that the next run would read."""
    people(tmp_path / "people", 4, 2)
    before = sorted(path.name for path in (tmp_path / "people").iterdir())
    for out in ("people", "people/recs", "people/recs.parquet", "people/0.parquet"):
        arguments = ["recommend", model, "--users", tmp_path / "people", "--force"]
        assert "give another place" in wrong_use(*arguments, "--out", tmp_path / out)
    assert sorted(path.name for path in (tmp_path / "people").iterdir()) == before
    assert run("score", model, tmp_path / "people", "--out", tmp_path / "people2") == 2


def test_what_json_does_not_know_is_written_as_text(model, tmp_path):
    from datetime import date

    pairs = pa.table({"user_id": ["u1"], "item_id": ["r1s2"], "seen": [[date(2026, 1, 2)]]})
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    assert run("score", model, tmp_path / "pairs.parquet", "--out", tmp_path / "s.csv") == 0
    assert "2026-01-02" in (tmp_path / "s.csv").read_text()


def test_what_a_row_may_get_depends_on_no_window(model, tmp_path, monkeypatch):
    rows = [
        {"user_id": "u1", "allow": ["r0s1"]}, {"user_id": "u1", "allow": None},
        {"user_id": "u1", "allow": ["r0s2"]}, {"user_id": "u2", "allow": None},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "users.parquet")
    arguments = ["recommend", model, "--users", tmp_path / "users.parquet", "--k", "3"]
    tables = []
    for window in (1, 2, 9):
        monkeypatch.setattr(job, "WINDOW", window)
        assert run(*arguments, "--keep-seen", "--out", tmp_path / f"{window}.csv") == 0
        tables.append([row.split(",")[:2] for row in (tmp_path / f"{window}.csv").open()])
    assert tables[0] == tables[1] == tables[2]
    assert [row[0] for row in tables[0]][1:] == ['"u1"'] * 5 + ['"u2"'] * 3


def test_unknown_items_of_everybody_are_told_once(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(job, "WINDOW", 7)
    (tmp_path / "deny.csv").write_text("item_id\nzzz\n")
    arguments = ["recommend", model, "--users", "all", "--out", tmp_path / "out"]
    assert run(*arguments, "--deny", tmp_path / "deny.csv") == 0
    told = capsys.readouterr().err
    assert told.count("left out of 1 list of what may be shown: 1 item not in") == 1


def test_a_window_of_unknown_items_stops_no_scores(model, tmp_path, capsys, monkeypatch, wrong_use):
    monkeypatch.setattr(job, "WINDOW", 2)
    items = ["r0s1", "r0s2", "zzz", "zzz", "r0s3", None]
    pairs = pa.table({"user_id": ["u1"] * 6, "item_id": items})
    pq.write_table(pairs.slice(0, 5), tmp_path / "pairs.parquet")
    arguments = ["score", model, tmp_path / "pairs.parquet", "--out", tmp_path / "out.parquet"]
    assert run(*arguments) == 0
    assert "not scored: 2 pairs with an item that is not in the catalog" in capsys.readouterr().err
    scores = pq.read_table(tmp_path / "out.parquet")["score"].to_pylist()
    assert [score is None for score in scores] == [False, False, True, True, False]
    assert "unknown item 'zzz'" in wrong_use(*arguments, "--strict")
    pq.write_table(pairs, tmp_path / "pairs.parquet")  # the row is told, counted in its window
    told = wrong_use(*arguments)
    assert f"{tmp_path}/pairs.parquet behind row 4: row 2 has no item_id" in told
