"""An exported folder is a stranger's: whatever is wrong ends in a message that names the file."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from p5mm.commands.main import main
from p5mm.errors import InputError
from p5mm.portable.export import write_export
from p5mm.portable.folder import OURS, is_export, is_replaceable, read_export
from p5mm.portable.recommender import PortableRecommender
from p5mm.serving.limits import Limits
from p5mm.serving.recommender import Recommender
from p5mm.serving.upkeep.deletion import without_items


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def refused(folder, file, message):
    with pytest.raises(InputError, match=message) as raised:
        read_export(folder)
    assert str(folder / file) in str(raised.value)


def test_what_is_written_is_known(exported, in_bytes):
    for folder in (exported, in_bytes):
        assert {path.name for path in folder.iterdir()} == OURS
        assert is_export(folder)
        assert is_replaceable(folder)


FILES = [
    "config.json", "items.parquet", "interactions.parquet", "arrays.safetensors",
    "index/index.faiss", "index/index.json", "index/ids.parquet", "query.onnx", "rank.onnx",
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_a_file_cut_off_or_missing_is_named(folder, file):
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: len(data) // 2])
    refused(folder, file, "again|not a whole")
    (folder / file).unlink()
    refused(folder, file, "is missing|there is no file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "a cake"}, "no exported model's"),
        ({"format": 99}, "format 99; this p5mm reads format 2"),
        ({"settings": None}, "settings is None"),
        ({"candidates": 0}, "out of its range"),
        ({"candidates": "many"}, "candidates is 'many'"),
        ({"max_history": 10**12}, "out of its range"),
        ({"temperature": 0}, "out of its range"),
        ({"decay": float("nan")}, "decay is nan"),
        ({"lift": 1e9}, "is beyond"),
        ({"soft_tokens": 7}, "tokens have"),
        ({"weights": {"decoder": 1e9, "together": 0, "content": {}}}, "is beyond"),
        ({"weights": {"decoder": 1, "together": 0, "content": {"smell": 1.0}}}, "not there"),
        ({"modalities": ["text", "style", "smell"]}, "content.smell' is missing"),
        ({"int8": True}, "'tokens.scale' is missing"),
        ({"taste": 1}, "unknown key 'taste'"),
    ],
)
def test_settings_are_checked(folder, change, message):
    about = json.loads((folder / "config.json").read_text())
    place = about if set(change) & set(about) else about["settings"]
    place.update(change)
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=message):
        read_export(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("vectors", lambda a: a[:, :-1], "tokens have"),
        ("vectors", lambda a: np.full_like(a, np.nan), "no finite number"),
        ("tokens", lambda a: a.astype(np.float64), "tokens is of float64"),
        ("bias", lambda a: a[:-1], "bias has shape"),
        ("known", lambda a: a.astype(np.uint8), "known is of uint8"),
        ("taken", lambda a: a - 100, "taken reaches from"),
        ("pairs.data", lambda a: a + 10**6, "pairs.data reaches"),
        ("pairs.indices", lambda a: a + 41, "pairs.indices reaches"),
        ("pairs.indptr", lambda a: a[::-1].copy(), "does not rise"),
        ("pairs.values", lambda a: a[:, :2].copy(), "pairs.values has shape"),
    ],
)
def test_arrays_are_checked(folder, name, change, message):
    path = folder / "arrays.safetensors"
    arrays = load_file(path)
    save_file(arrays | {name: np.ascontiguousarray(change(arrays[name]))}, path)
    refused(folder, "arrays.safetensors", message)


def test_an_array_more_or_less_is_named(folder):
    path = folder / "arrays.safetensors"
    arrays = load_file(path)
    save_file(arrays | {"gift": np.zeros(1)}, path)
    refused(folder, "arrays.safetensors", "unknown array 'gift'")
    save_file({name: array for name, array in arrays.items() if name != "bias"}, path)
    refused(folder, "arrays.safetensors", "'bias' is missing")


def test_another_catalog_is_refused(folder):
    items = pq.read_table(folder / "items.parquet")
    pq.write_table(items.slice(1), folder / "items.parquet")
    with pytest.raises(InputError, match="has shape"):
        read_export(folder)
    order = np.arange(len(items))[::-1]
    pq.write_table(items.take(order), folder / "items.parquet")
    refused(folder, "index", "ids are not those of the catalog")


def test_nothing_is_followed_out_of_the_folder(folder, exported):
    (folder / "query.onnx").unlink()
    (folder / "query.onnx").symlink_to(exported / "query.onnx")
    refused(folder, "query.onnx", "leads out of")


def test_deleted_items_are_none_of_its_own(whole, tmp_path, capsys):
    """As of the model that it was exported from: in numbers, in lists of what may be shown."""
    model = without_items(whole, ["r0s1", "r2s2"])
    write_export(model, tmp_path / "less")
    assert main(["status", str(tmp_path / "less"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["items"], told["deleted"]) == (len(whole.catalog) - 2, 2)
    assert main(["status", str(tmp_path / "less")]) == 0
    assert f"{told['items']}, 2 deleted;" in capsys.readouterr().out
    asked = {"histories": [["r0s1", "r0s2"]], "k": 50}
    for of in (Recommender(model), PortableRecommender.load(tmp_path / "less")):
        for limits in (Limits(allow=["r0s1"]), Limits(allow_each={"0": ["r0s1", "r0s3"]})):
            with pytest.raises(InputError, match="unknown item 'r0s1'"):
                of.recommend(**asked, limits=limits)
        shown = of.recommend(**asked, limits=Limits(deny=["r0s1"]))["item_id"].to_pylist()
        assert not {"r0s1", "r2s2"} & set(shown)


def test_what_is_deleted_may_not_be_known(folder):
    arrays = load_file(folder / "arrays.safetensors")
    arrays["deleted"][3] = True
    save_file(arrays, folder / "arrays.safetensors")
    refused(folder, "arrays.safetensors", "deleted, and known all the same")


def test_its_status(exported, in_bytes, whole, capsys):
    told = []
    for folder in (exported, in_bytes):
        assert main(["status", str(folder), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert [of["int8"] for of in told] == [False, True]
    assert told[0]["items"] == len(whole.catalog)
    assert told[0]["decoder"]
    assert told[1]["bytes"] < told[0]["bytes"]
    assert main(["status", str(exported)]) == 0
    assert "exported model" in capsys.readouterr().out
    assert main(["delete", str(exported), "r0s1"]) == 2
    assert "p5mm export it again" in capsys.readouterr().err
