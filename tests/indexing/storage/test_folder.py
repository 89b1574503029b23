"""Index folders: what may be replaced, and what a stranger may put into them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from p5mm.commands.main import main
from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features, Quarantined
from p5mm.encoders.values.content import STAMP
from p5mm.errors import InputError
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.storage.folder import check_target, read_index, read_index_rows, write_index
from p5mm.indexing.storage.segment import keep_segment

N, D = 80, 6
SEGMENT = "segments/000001"
TEXT = f"{SEGMENT}/features/text.safetensors"


@pytest.fixture(scope="module")
def index():
    rng = np.random.default_rng(0)
    table = pa.table({"item_id": [f"i{i}" for i in range(N)], "name": [f"n {i}" for i in range(N)]})
    features = []
    for name in ("image", "text", "vector:price/../x"):
        vectors = rng.normal(size=(N, D)).astype(np.float32)
        present = np.arange(N) != 3
        refused = (Quarantined(3, "odd"),)
        kept = np.where(present[:, None], vectors, 0)
        features.append(Features(name, f"fake:{name}", "f", kept, present, refused))
    return CatalogIndex.build(Catalog(table, ("name",)), features).align()


@pytest.fixture(scope="module")
def saved(index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "index"
    write_index(index, folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "index")


def refused(folder, file, message=None):
    with pytest.raises(InputError, match=message) as told:
        read_index(folder)
    assert str(folder / file) in str(told.value)


def arrays(folder, file, change):
    with safe_open(folder / file, "np") as opened:
        metadata = opened.metadata()
    given = load_file(folder / file)
    given |= {name: made(given) if callable(made) else made for name, made in change.items()}
    given = {name: np.ascontiguousarray(a) for name, a in given.items() if a is not None}
    save_file(given, folder / file, metadata=metadata)


def told(folder, path, value):
    about = json.loads((folder / "config.json").read_text())
    part = about
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(about))


def test_what_is_written_is_read(index, saved):
    again = read_index(saved)
    assert again.catalog.item_ids == index.item_ids
    assert again.quarantine == index.quarantine
    assert {name: replace(f, quarantine=()) for name, f in index.features.items()}.keys() == (
        again.features.keys()
    )
    for name, features in again.features.items():
        np.testing.assert_array_equal(features.vectors, index.features[name].vectors)
        np.testing.assert_array_equal(features.present, index.features[name].present)
    assert {n: v.item_ids for n, v in again.views.items()} == {
        n: v.item_ids for n, v in index.views.items()
    }
    assert again.alignment.report == index.alignment.report
    vectors = index.features["text"].vectors
    np.testing.assert_array_equal(
        again.alignment.project("text", vectors), index.alignment.project("text", vectors)
    )


def test_stamps_of_a_field_that_a_segment_does_not_know_say_nothing(folder, tmp_path):
    rows, stamps = np.arange(N), {"odd": np.zeros((N, STAMP), np.int64)}
    keep_segment(folder / SEGMENT, tmp_path / "kept", N, rows, stamps)
    for path in (folder / SEGMENT).rglob("*"):
        if path.is_file():
            kept = tmp_path / "kept" / path.relative_to(folder / SEGMENT)
            assert kept.stat().st_ino == path.stat().st_ino


def test_nothing_but_an_index_is_replaced(index, folder, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    write_index(index, folder)
    (folder / "notes.txt").write_text("mine")
    for target in (folder, file, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError, match="nothing was written"):
            write_index(index, target)
        assert sorted(tmp_path.rglob("*")) == before
    write_index(index, folder, force=True)
    check_target(folder)
    with pytest.raises(InputError, match="is a file"):
        write_index(index, file, force=True)


FILES = ["config.json", "quarantine.parquet", "alignment.safetensors", TEXT] + [
    f"{SEGMENT}/{name}" for name in ("items.parquet", "marks.safetensors", "views/text/index.json",
    "features/image.safetensors", "views/image/index.faiss", "views/joint/ids.parquet")
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_what_is_no_such_file_is_told(folder, file, capsys):
    whole = (folder / file).read_bytes()
    for content in (b"", b"\x80\x04\x95.", whole[: len(whole) // 2], None):
        (folder / file).unlink()
        if content is not None:
            (folder / file).write_bytes(content)
        assert main(["search", str(folder), "--item", "i5"]) == 2
        assert str(folder) in capsys.readouterr().err
        (folder / file).write_bytes(whole)
    assert main(["search", str(folder), "--item", "i5"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": lambda a: a["vectors"][:, 0]}, "shape"),
        ({"vectors": lambda a: a["vectors"][:, :3]}, "shape"),
        ({"vectors": lambda a: a["vectors"][:, :0]}, "shape"),
        ({"vectors": lambda a: a["vectors"][:-1]}, "shape"),
        ({"vectors": lambda a: a["vectors"] * np.nan}, "no finite number"),
        ({"vectors": lambda a: a["vectors"].astype(np.int32)}, "int32"),
        ({"vectors": lambda a: a["vectors"].astype(np.float64)}, "float64"),
        ({"present": lambda a: a["present"].astype(np.float32)}, "float32"),
        ({"present": np.ones((N, 2), np.bool_)}, "shape"),
        ({"present": None}, "missing"),
        ({"vectors": np.ones((2 * N, D), np.float32), "present": np.ones(2 * N, bool)}, "shape"),
    ],
)
def test_features_of_other_sizes(folder, change, message):
    arrays(folder, TEXT, change)
    refused(folder, TEXT, message)


def test_more_vectors_than_are_told(folder):
    arrays(folder, TEXT, {"present": np.ones(N, np.bool_)})
    refused(folder, f"{SEGMENT}/views/text", "its ids are not those")
    other = f"{SEGMENT}/features/vector%3Aprice%2F..%2Fx.safetensors"
    arrays(folder, TEXT, {"present": np.arange(N) != 3})
    arrays(folder, other, {"present": np.ones(N, np.bool_)})
    refused(folder, "config.json", "80 items have vector:price/../x vectors, not 79")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text.linear": lambda a: a["text.linear"][:3]}, "shape"),
        ({"text.linear": lambda a: a["text.linear"] * np.nan}, "no finite number"),
        ({"text.linear": lambda a: a["text.linear"][:, :2]}, None),
        ({"text.mean": lambda a: a["text.mean"][:3]}, "shape"),
        ({"image.correction.1.bias": None}, "damaged"),
        ({"odd": np.ones(1, np.float32)}, "unknown array"),
        ({"text.mean": np.ones(D + 1, np.float32), "text.linear": np.ones((D + 1, D), np.float32)},
         "fits no text vectors"),
    ],
)  # fmt: skip
def test_an_alignment_of_other_sizes(folder, change, message):
    arrays(folder, "alignment.safetensors", change)
    refused(folder, "alignment.safetensors", message)


@pytest.mark.parametrize("name", ["../../secret", "/secret", "..", "", "x"])
def test_views_are_the_three_that_there_are(folder, name, tmp_path):
    shutil.copytree(folder / SEGMENT / "views" / "text", tmp_path / "secret")
    told(folder, ["segments", 0, "views"], [name])
    refused(folder, "config.json", "unknown view")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["encoders"], []), (["segments"], []), (["aligned"], "yes"), (["items"], "80"),
        (["items"], 79), (["quarantined"], 0), (["format"], 2), (["format"], 4),
        (["segments", 0, "views"], []), (["segments", 0, "name"], "../001"),
        (["segments", 0, "name"], "000002"), (["segments", 0, "deleted"], 80),
        (["segments", 0, "deleted"], -1), (["segments", 0, "items"], 81), (["odd"], 1),
        (["encoders", "text"], {}), (["encoders", "text", "spec"], 5),
        (["encoders", "text", "dim"], "6"), (["encoders", "text", "odd"], 1),
    ],
)  # fmt: skip
def test_a_configuration_from_a_stranger(folder, path, value):
    told(folder, path, value)
    for read in (read_index, read_index_rows):
        if (path, value) == (["segments", 0, "views"], []) and read is read_index_rows:
            continue  # it reads no views
        with pytest.raises(InputError, match=str(folder)):
            read(folder)


def test_names_of_modalities_lead_nowhere(folder, tmp_path):
    (tmp_path / "x.safetensors").write_bytes((folder / TEXT).read_bytes())
    about = json.loads((folder / "config.json").read_text())
    told(folder, ["encoders", "../../x"], about["encoders"]["text"])
    refused(folder, f"{SEGMENT}/features/..%2F..%2Fx.safetensors", "missing")


@pytest.mark.parametrize("file", [f"{SEGMENT}/views/text", TEXT, f"{SEGMENT}/items.parquet"])
def test_links_out_of_the_folder_are_not_followed(folder, tmp_path, file):
    shutil.move(folder / file, tmp_path / "elsewhere")
    (folder / file).symlink_to(tmp_path / "elsewhere")
    refused(folder, file, "leads out")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: pa.table({"item_id": [f"zz{i}" for i in range(t.num_rows)]}),
        lambda t: t.take(list(range(t.num_rows))[::-1]),
    ],
)
@pytest.mark.parametrize("view", ["image", "text", "joint"])
def test_a_view_of_other_ids(folder, view, change):
    path = folder / SEGMENT / "views" / view / "ids.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    refused(folder, f"{SEGMENT}/views/{view}", "its ids are not those")


def test_a_view_of_other_dimensions(folder):
    shutil.rmtree(folder / SEGMENT / "views" / "joint")
    shutil.copytree(folder / SEGMENT / "views" / "text", folder / SEGMENT / "views" / "joint")
    refused(folder, f"{SEGMENT}/views/joint", "its vectors have 6 dimensions")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: pa.table({"evil": ["x"]}), lambda t: t.slice(0, 1),
        lambda t: t.set_column(0, "item_id", pa.array([1] * t.num_rows)),
    ],
)  # fmt: skip
def test_a_quarantine_that_is_none(folder, change):
    path = folder / "quarantine.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(InputError, match=r"quarantine\.parquet|config\.json"):
        read_index(folder)


def test_a_deep_config_is_no_index(folder):
    (folder / "config.json").write_bytes(b'{"kind": ' + b"[" * 200_000)
    with pytest.raises(InputError, match="no index of p5mm"):
        read_index(folder)
    with pytest.raises(InputError, match="nothing was written"):
        check_target(folder)
