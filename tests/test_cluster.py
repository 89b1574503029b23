"""Pieces of work on a local Ray with two workers: in order, once each, and what goes wrong."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from p5mm.cluster import Cluster, _bytes, _Worker
from p5mm.commands.main import main
from p5mm.errors import InputError
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.serving import job
from p5mm.serving.bulk import Kept
from p5mm.serving.job import folder_digest
from p5mm.serving.recommender import Recommender

MIB = 2**20


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(
        num_cpus=2,
        object_store_memory=200 * MIB,
        include_dashboard=False,
        logging_level=logging.ERROR,
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def model(toy, tmp_path):
    Recommender(toy).save(tmp_path / "model")
    return tmp_path / "model"


def run(*arguments):
    return main([str(one) for one in arguments])


def numbers(count):
    return [pa.table({"n": [number]}) for number in range(count)]


def test_results_come_in_order_from_both_workers(ray):
    def work(piece):  # a local function travels as it is
        import time

        import pyarrow as pa

        number = piece["n"][0].as_py()
        time.sleep(0.3 if number % 4 == 0 else 0.05)
        return pa.table({"n": [number] * number, "who": [os.getpid()] * number})

    made = list(Cluster().map(work, numbers(12)))
    assert [table.num_rows for table in made] == list(range(12))  # an empty one is not lost
    assert all(set(table["n"].to_pylist()) <= {n} for n, table in enumerate(made))
    who = {pid for table in made for pid in table["who"].to_pylist()}
    assert len(who) == 2
    assert os.getpid() not in who


def test_a_worker_that_breaks_is_told(ray):
    def breaks(piece):
        raise RuntimeError("no such device")

    with pytest.raises(ChildProcessError, match="no such device"):
        list(Cluster().map(breaks, numbers(1)))


def test_what_is_wrong_with_a_piece_comes_back_as_its_result():
    pytest.importorskip("ray")

    def told(error):
        def work(piece):
            logging.getLogger("p5mm.serving.requests").warning("left out: %d users", 3)
            raise error

        batch = pa.table({"piece": pa.array([_bytes(numbers(1)[0])], pa.large_binary())})
        return _Worker(work, [], ".")(batch).to_pylist()[0]

    wrong = told(InputError("row 3 has no user_id"))
    told_wrong = {"made": None, "wrong": "row 3 has no user_id", "failed": None}
    assert wrong == {**told_wrong, "warnings": ["left out: 3 users"]}
    assert told(FileNotFoundError("users.parquet"))["failed"] == "FileNotFoundError: users.parquet"


def people(folder, count):
    folder.mkdir()
    rows = [
        {"user_id": f"p{n}", "history": [f"r{n % 4}s{n % 5}", f"r{n % 4}s{n % 5 + 1}"]}
        for n in range(count)
    ]
    for number, start in enumerate(range(0, count, 15)):
        pq.write_table(pa.Table.from_pylist(rows[start : start + 15]), folder / f"{number}.parquet")


def agree(found, wanted):
    assert found.schema == wanted.schema
    assert found.drop_columns("score") == wanted.drop_columns("score")
    assert found["score"].to_pylist() == pytest.approx(wanted["score"].to_pylist(), abs=1e-4)


def test_recommend_and_score_give_the_table_of_one_machine(
    ray, model, tmp_path, monkeypatch, capsys
):
    """In parts that one engine began and the other went on with, and in a file."""
    monkeypatch.setattr(job, "WINDOW", 8)
    monkeypatch.chdir(tmp_path)
    people(tmp_path / "users", 40)
    (tmp_path / "deny.csv").write_text("item_id\nr0s1\n")
    recommend = ["recommend", "model", "--users", "users", "--k", "3", "--deny", "deny.csv"]
    assert run(*recommend, "--out", "here") == 0
    shutil.copytree("here", "there")
    for part in range(1, 5):  # killed here, gone on with there
        (tmp_path / "there" / f"part-{part:06}.parquet").unlink()
    assert run(*recommend, "--out", "there", "--engine", "ray") == 0
    names = [path.name for path in sorted((tmp_path / "here").iterdir())]
    assert names == ["_manifest.jsonl", *(f"part-{part:06}.parquet" for part in range(5))]
    assert names == [path.name for path in sorted((tmp_path / "there").iterdir())]
    assert Path("here", names[0]).read_text() == Path("there", names[0]).read_text()
    for name in names[1:]:
        agree(pq.read_table(f"there/{name}"), pq.read_table(f"here/{name}"))
    pairs = [
        {"user_id": f"u{n}", "item_id": f"r{n % 4}s{n % 7}", "note": n if n % 3 else None}
        for n in range(30)
    ]
    pairs[9]["user_id"] = "nobody"
    capsys.readouterr()
    pq.write_table(pa.Table.from_pylist(pairs), "pairs.parquet")
    for place, engine in (("here", "local"), ("there", "ray")):
        out = f"{place}.parquet"
        assert run("score", "model", "pairs.parquet", "--out", out, "--engine", engine) == 0
        assert capsys.readouterr().err.count("1 user is not in the log, such as 'nobody'") == 1
    agree(pq.read_table("there.parquet"), pq.read_table("here.parquet"))


def test_another_model_on_a_worker_is_refused(model, tmp_path):
    kept = Kept(model, folder_digest(model), Recommender.load)
    travels, arguments = kept.__reduce__()
    there, late = travels(*arguments), travels(*arguments)
    assert there.recommender.model.catalog.item_ids == kept.recommender.model.catalog.item_ids
    (model / "note.txt").write_text("changed")
    with pytest.raises(InputError, match="is another model on a worker"):
        late.recommender  # noqa: B018


def test_a_strict_job_fails_as_it_does_here(ray, model, tmp_path, capsys):
    (tmp_path / "pairs.csv").write_text("user_id,item_id\nu1,r0s1\nu1,r0s99\n")
    command = ["score", model, tmp_path / "pairs.csv", "--out", tmp_path / "s.csv", "--strict"]
    assert run(*command) == 2
    here = capsys.readouterr().err
    assert run(*command, "--engine", "ray") == 2
    assert capsys.readouterr().err.endswith(here)  # Ray may have a word of its own before
    assert "r0s99" in here
    assert not (tmp_path / "s.csv.parts").exists()


COLOUR = """
import numpy as np
from p5mm.encoders.picture import read_picture

class Colour:
    modality, source, dim = "colour", "image", 3
    fingerprint = "mean colour, version {version}"

    def load(self, raw):
        return np.asarray(read_picture(raw, 8), np.float32).mean((0, 1))

    def encode(self, batch):
        return np.asarray(batch, np.float32).reshape(-1, 3)
"""


def test_a_catalog_is_encoded_to_the_vectors_of_one_machine(ray, tmp_path, monkeypatch):
    """Paths and texts travel, vectors stay; a broken picture is told by its reason."""
    pytest.importorskip("faiss")
    (tmp_path / "colour_there.py").write_text(COLOUR.format(version=1))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for n in range(300):
        Image.new("RGB", (9, 9), (n % 256, n // 2, 7)).save(f"images/{n:03}.png")
    (tmp_path / "images" / "017.png").write_bytes(b"no picture")
    command = ["index", "images", "--image-encoder", "none", "--text-encoder", "none"]
    command += ["--encoder", "colour_there:Colour"]
    for place, engine in (("here", "local"), ("there", "ray")):
        monkeypatch.setenv("P5MM_CACHE", str(tmp_path / f"cache-{place}"))
        assert run(*command, "--out", place, "--engine", engine) == 0
    here, there = (
        CatalogIndex.load(place, trust=["colour_there:Colour"]) for place in ("here", "there")
    )
    one, other = here.features["colour"], there.features["colour"]
    assert other.vectors.tolist() == one.vectors.tolist()
    assert other.present.tolist() == one.present.tolist()
    told = [pq.read_table(f"{place}/quarantine.parquet").to_pylist() for place in ("here", "there")]
    assert told[1] == told[0]
    assert [broken["item_id"] for broken in told[0]] == ["017"]
    assert run(*command, "--out", "there", "--engine", "ray") == 0  # nothing is left to encode


def test_unknown_engines_and_a_missing_ray(tmp_path, monkeypatch, capsys):
    command = ["recommend", tmp_path, "--users", "all", "--out", tmp_path / "r.parquet"]
    assert run(*command, "--engine", "rya") == 2
    assert (
        "unknown engine 'rya'; did you mean 'ray'? Allowed: local, ray" in capsys.readouterr().err
    )

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    assert run(*command, "--engine", "ray") == 2
    assert 'pip install "ray[data]"' in capsys.readouterr().err


def test_help_imports_no_ray():
    code = (
        "import sys; from p5mm.commands.main import main\n"
        "try: main(['recommend', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'ray', 'torch', 'pyarrow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--engine ENGINE" in done.stdout
