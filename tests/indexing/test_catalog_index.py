import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from p5mm.commands.main import main
from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features, Quarantined, encoders
from p5mm.errors import InputError
from p5mm.indexing import query
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.storage import folder as index_folder

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class MeanColour:
    """A picture's mean colour."""

    modality, dim, fingerprint = "image", 3, "colour 1"

    def load(self, raw):
        return np.asarray(Image.open(raw).convert("RGB"), dtype=np.float32).mean((0, 1)) / 255

    def encode(self, batch):
        return np.stack(batch)


class ColourWords:
    """How often a text names each colour."""

    modality, dim, fingerprint = "text", 3, "words 1"

    def __init__(self, weights=""):
        pass

    def load(self, raw):
        return np.array([raw.count(name) for name in COLOURS], dtype=np.float32)

    def encode(self, batch):
        return np.stack(batch)


@pytest.fixture(autouse=True)
def fake_encoders(tmp_path, monkeypatch):
    monkeypatch.setenv("P5MM_CACHE", str(tmp_path / "cache"))
    factories = {"tiny.image": MeanColour, "tiny.text": ColourWords, "open_clip.text": ColourWords}
    monkeypatch.setattr(encoders, "_modules", ())
    monkeypatch.setattr(encoders, "_factories", {**factories, "open_clip.image": MeanColour})
    query._encoder.cache_clear()


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, (r, g, b) in enumerate(np.random.default_rng(0).integers(20, 255, (60, 3))):
        Image.new("RGB", (8, 8), (int(r), int(g), int(b))).save(folder / f"p{number}.png")
    (folder / "empty.png").write_bytes(b"")
    return folder


def made(n=6, spec="tiny", text=True, fingerprint="colour 1"):
    """Items of the three colours, twice; the last has no text, the first no picture."""
    names = [list(COLOURS)[row % 3] for row in range(n)]
    table = pa.table({"item_id": [f"{name} {row}" for row, name in enumerate(names)]})
    catalog = Catalog(table.append_column("title", [names]), ("title",))
    vectors = np.eye(3, dtype=np.float32)[np.arange(n) % 3]
    rows = np.arange(n)
    image = Features("image", spec, fingerprint, vectors * (rows > 0)[:, None], rows > 0)
    image = replace(image, quarantine=(Quarantined(0, "broken"),))
    words = Features("text", spec, "words 1", vectors * (rows < n - 1)[:, None], rows < n - 1)
    return CatalogIndex.build(catalog, [image, words] if text else [image])


def ids(hits):
    return [hit.item_id for hit in hits]


def test_a_folder_of_pictures_is_searched_by_picture_and_item(pictures, tmp_path, capsys):
    out = str(tmp_path / "out")
    arguments = ["index", str(pictures), "--out", out, "--image-encoder", "tiny", "--workers", "0"]
    assert main(arguments) == 0
    assert "1 value in quarantine" in capsys.readouterr().err
    assert main(["search", out, "--image", str(pictures / "p7.png"), "--k", "5", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    found = CatalogIndex.load(out).search_picture(pictures / "p7.png", 5)
    names = [{"title": hit.item_id, "image": f"{hit.item_id}.png"} for hit in found]
    assert hits == [vars(hit) | name for hit, name in zip(found, names, strict=True)]
    assert hits[0]["item_id"] == "p7"
    assert hits[0]["score"] == pytest.approx(1)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert "p7" not in ids(CatalogIndex.load(out).search_item("p7", 100))
    bad = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [(one["item_id"], one["modality"]) for one in bad] == [("empty", "image")]
    assert main(["search", out, "--text", "red"]) == 2
    assert "p5mm align" in capsys.readouterr().err
    assert main(["search", out, "--text", "red", "--item", "p7"]) == 2
    assert "--item is searched alone" in capsys.readouterr().err


def test_text_finds_texts_without_a_joint_view():
    index = made()
    assert set(index.views) == {"image", "text"}
    assert ids(index.search_text("green", 2)) == ["green 1", "green 4"]


def test_one_clip_makes_a_joint_view_where_text_finds_pictures():
    index = made(spec="open_clip:tiny/tag")
    assert "joint" in index.views
    # "blue 5" has no text: only its picture can be found.
    assert ids(index.search_text("blue", 2)) == ["blue 2", "blue 5"]
    assert ids(index.search_text("red", 2)) == ["red 0", "red 3"]


def test_item_search_is_the_mean_cosine_over_shared_modalities():
    index = made()
    hits = index.search_item("red 3", 10)
    assert hits[0].item_id == "red 0"
    assert hits[0].score == pytest.approx(1)
    assert len(hits) == 5
    assert "blue 5" not in ids(index.search_item("red 0", 10))  # nothing in common to compare


def test_only_what_fulfils_a_condition_is_found():
    index = made(spec="open_clip:tiny/tag").where("title in ['red', 'blue']")
    assert set(ids(index.search_text("green", 10))) == {"red 0", "red 3", "blue 2", "blue 5"}
    assert set(ids(index.search_item("green 4", 10))) == {"red 0", "red 3", "blue 2", "blue 5"}
    assert "green 4" not in ids(index.search_item("red 3", 10))
    both = index.where("title != 'red'")
    assert set(ids(both.search_item("green 4", 10))) == {"blue 2", "blue 5"}
    no_text = made().where("item_id == 'blue 5'")  # found by its picture alone
    assert no_text.search_text("red", 3) == []
    with pytest.raises(InputError, match="a condition hides items"):
        index.save("anywhere")
    with pytest.raises(InputError, match="no item fulfils --where title == 'grey'"):
        made().where("title == 'grey'")
    with pytest.raises(InputError, match="unknown column in --where 'colour'"):
        made().where("colour == 'red'")


def test_unknown_item_names_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'red 0'.*holds 6 items"):
        made().search_item("rad 0")


def test_round_trip(tmp_path):
    index = made(spec="open_clip:tiny/tag")
    index.save(tmp_path / "out")
    again = CatalogIndex.load(tmp_path / "out")
    assert again.item_ids == index.item_ids
    assert again.catalog.titles == index.catalog.titles
    assert again.quarantine == index.quarantine
    assert again.search_text("blue", 6) == index.search_text("blue", 6)


def test_align_brings_a_joint_view(tmp_path):
    rng = np.random.default_rng(0)
    cause, n = rng.normal(size=(200, 5)), 200
    table = pa.table({"item_id": [f"i{row}" for row in range(n)]})
    features = [
        Features(
            name,
            "tiny",
            "f",
            np.tanh(cause @ rng.normal(size=(5, dim))).astype(np.float32),
            np.ones(n, bool),
        )
        for name, dim in (("image", 20), ("text", 12))
    ]
    CatalogIndex.build(Catalog(table), features).save(tmp_path / "out")
    assert main(["align", str(tmp_path / "out"), "--seed", "1"]) == 0
    again = CatalogIndex.load(tmp_path / "out")
    assert set(again.views) == {"image", "text", "joint"}
    assert again.alignment is not None
    query = again.alignment.project("text", features[1].vectors)
    assert np.mean(again.views["joint"].rows(query, 1)[:, 0] == np.arange(n)) > 0.5


def test_align_needs_both():
    with pytest.raises(InputError, match="no text vectors"):
        made(text=False).align()


def test_other_encoders_are_refused_by_name():
    index = made(fingerprint="colour 0")
    with pytest.raises(InputError, match=r"colour 0.*colour 1"):
        index.search_picture(b"whatever")


def test_a_broken_picture_to_search_by(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(InputError, match=r"search by .*/x\.png cannot be used"):
        made().search_picture(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"search by .*/nothere\.png cannot be used"):
        made().search_picture(tmp_path / "nothere.png")


def test_a_failing_write_leaves_the_old_index_whole(tmp_path, monkeypatch):
    made().save(tmp_path / "out")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(index_folder, "_write_rest", fail)
    with pytest.raises(KeyboardInterrupt):
        made(n=9).save(tmp_path / "out")
    assert len(CatalogIndex.load(tmp_path / "out").item_ids) == 6
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "cache") == ["out"]


def test_an_index_is_replaced_and_anything_else_refused(tmp_path):
    made().save(tmp_path / "out")
    made(n=9).save(tmp_path / "out")
    assert len(CatalogIndex.load(tmp_path / "out").item_ids) == 9
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="nothing was written"):
        made().save(mine)
    assert (mine / "thesis.txt").read_text() == "years"


def test_broken_and_foreign_folders(tmp_path):
    with pytest.raises(InputError, match="no index of p5mm"):
        CatalogIndex.load(tmp_path)
    made().save(tmp_path / "out")
    for file in ("items.parquet", "features/image.safetensors", "views/text/index.faiss"):
        shutil.copytree(tmp_path / "out", tmp_path / "copy", dirs_exist_ok=True)
        (tmp_path / "copy" / "segments" / "000001" / file).write_bytes(b"broken")
        with pytest.raises(InputError):
            CatalogIndex.load(tmp_path / "copy")


def test_items_without_any_vector_are_counted_but_not_found():
    index = made(text=False)
    assert not index.present[0]
    assert "red 0" not in ids(index.search_item("red 3", 10))
    with pytest.raises(InputError, match="neither picture nor text"):
        index.search_item("red 0")


@pytest.mark.parametrize("size", [1e-40, 1e-20, 1.0, 1e20, 1e38])
def test_vectors_of_any_size_are_compared_by_angle(size):
    random = np.random.default_rng(0).normal(size=(5, 3))
    table = pa.table({"item_id": list("abcde")})
    vectors = (random * size).astype(np.float32)
    features = Features("vec", "vector:vec", "v", vectors, np.ones(5, bool))
    hits = CatalogIndex.build(Catalog(table), [features]).search_item("a", 4)
    unit = random / np.linalg.norm(random, axis=1, keepdims=True)
    expected = sorted((unit[1:] @ unit[0]).tolist(), reverse=True)
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-3)


def test_only_what_is_allowed_and_not_denied_is_found(pictures, tmp_path, capsys, caplog):
    index = made(spec="open_clip:tiny/tag").limited(["red 0", "blue 2", "grey 9"], ["red 0"])
    assert ids(index.search_text("red", 10)) == ids(index.search_item("green 4", 10)) == ["blue 2"]
    assert "1 item not in the index, such as 'grey 9'" in caplog.text
    with pytest.raises(InputError, match="allow and deny leave no item"):
        made().limited(["red 0"], ["red 0"])
    out, near = str(tmp_path / "out"), ["--item", "p7", "--k", "3", "--json"]
    assert main(["index", str(pictures), "--out", out, "--image-encoder", "tiny",
                 "--workers", "0"]) == 0  # fmt: skip
    (tmp_path / "allow.csv").write_text("item_id\np1\np2\np3\np4\n")
    (tmp_path / "deny.csv").write_text("item_id\np2\n")
    capsys.readouterr()
    limits = ["--allow", str(tmp_path / "allow.csv"), "--deny", str(tmp_path / "deny.csv")]
    assert main(["search", out, *near, *limits]) == 0  # exactly k: there are as many
    assert {hit["item_id"] for hit in json.loads(capsys.readouterr().out)} == {"p1", "p3", "p4"}
    (tmp_path / "allow.csv").write_text("item_id\n")
    assert main(["search", out, *near, *limits]) == 2
    assert "leave no item" in capsys.readouterr().err
