"""Which view answers a query, and that words reach pictures where a text tower is there."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from p5mm.commands.main import main
from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import train_alignment
from p5mm.encoders.base import Features, encoders
from p5mm.errors import InputError
from p5mm.indexing import query
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.query import default_view
from p5mm.indexing.vectors import unit

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Eye:
    """A picture's mean colour."""

    modality, dim, fingerprint = "image", 3, "eye 1"

    def __init__(self, weights=""):
        pass

    def load(self, raw):
        return np.asarray(Image.open(raw).convert("RGB"), dtype=np.float32).mean((0, 1)) / 255

    def encode(self, batch):
        return np.stack(batch)


class Words:
    """How often a text names each colour; in one space with `Eye`."""

    modality, dim, fingerprint, space = "text", 3, "words 1", "eye 1"

    def __init__(self, weights=""):
        pass

    def load(self, raw):
        return np.array([raw.count(name) for name in COLOURS], dtype=np.float32)

    def encode(self, batch):
        return np.stack(batch)


class Strangers(Words):
    """A text encoder that shares no space with any picture."""

    space = ""


class Others(Words):
    """The text tower of other weights."""

    space = "eye 2"


@pytest.fixture(autouse=True)
def fake_encoders(monkeypatch):
    texts = {"open_clip": Words, "apart": Strangers, "changed": Others}
    factories = {f"{name}.{side}": made for name, text in texts.items()
                 for side, made in (("image", Eye), ("text", text))}  # fmt: skip
    monkeypatch.setattr(encoders, "_modules", ())
    monkeypatch.setattr(encoders, "_factories", factories | {"blind.image": Eye})
    query._encoder.cache_clear()
    query._tower.cache_clear()


@pytest.fixture
def shop(tmp_path):
    """A folder of pictures, two of each colour."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        for number in range(2):
            Image.new("RGB", (8, 8), colour).save(folder / f"{name}{number}.png")
    return folder


def index_of(images=None, texts=None, spec="open_clip:a/b", n=6, align=False):
    """An index; rows of ``images`` and ``texts`` that are zero have none."""
    columns = {"item_id": [f"i{row}" for row in range(n)], "name": ["a name"] * n}
    marks = {"image": "eye 1", "text": "words 1"}
    made = [
        Features(side, spec, marks[side], vectors.astype(np.float32), vectors.any(axis=1))
        for side, vectors in (("image", images), ("text", texts))
        if vectors is not None
    ]
    index = CatalogIndex.build(Catalog(pa.table(columns), ("name",)), made)
    return index.with_alignment(train_alignment(*made)) if align else index


def ids(hits):
    return [hit.item_id for hit in hits]


def test_words_search_a_folder_of_pictures(shop, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["index", str(shop), "--out", out, "--image-encoder", "open_clip:a/b"]) == 0
    assert "words find pictures by the text tower of open_clip:a/b" in capsys.readouterr().err
    for view in ([], ["--view", "image"], ["--view", "joint"]):
        assert main(["search", out, "--text", "red", "-k", "2", "--json", *view]) == 0
        told = capsys.readouterr()
        assert [hit["item_id"] for hit in json.loads(told.out)] == ["red0", "red1"]
        assert told.err == ""
    assert main(["search", out, "--text", "red", "-k", "2"]) == 0
    assert capsys.readouterr().err == "view image: pictures by open_clip:a/b\n"
    assert main(["search", out, "--text", "red", "--view", "text"]) == 2
    assert "has no view 'text'; it is searched by image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "message"),
    [("blind:a/b", "has no text tower"), ("apart:a/b", "shares no space with its pictures"),
     ("changed:a/b", "with fingerprint eye 1; the text tower .* belongs to eye 2")],
)  # fmt: skip
def test_words_without_a_text_tower_say_why(spec, message):
    with pytest.raises(InputError, match=f"words do not reach the pictures.*{message}"):
        index_of(np.eye(3)[[0, 1, 2, 0, 1, 2]], spec=spec).search_text("red")


def test_the_default_view():
    image = np.random.default_rng(0).normal(size=(60, 3))
    text = np.tanh(image @ np.random.default_rng(1).normal(size=(3, 3)))
    words, both = ["text"], ["text", "image"]
    clip, aligned = (index_of(image, text, spec, 60, align)
                     for spec, align in (("open_clip:a/b", False), ("apart", True)))  # fmt: skip
    report = replace(aligned.alignment.report, median_rank=6.0)  # of 12 held out
    weak = aligned.with_alignment(replace(aligned.alignment, report=report))
    assert default_view(clip, words) == "joint"
    assert default_view(aligned, words) == "joint"
    assert default_view(weak, words) == "text"
    assert default_view(weak, both) == "joint"
    assert default_view(index_of(image, text, "apart", 60), words) == "text"
    assert default_view(index_of(None, text, n=60), words) == "text"
    assert default_view(index_of(image, n=60), words) == "image"
    assert default_view(clip, both) == default_view(aligned, both) == "joint"
    assert default_view(clip, ["image"]) == "image"
    with pytest.raises(InputError, match="holds no pictures"):
        default_view(index_of(None, text, n=60), both)


def test_each_view_of_a_clip(shop):
    pictures = np.eye(3)[[0, 1, 2, 0, 1, 2]] * np.array([0, 1, 1, 1, 1, 1])[:, None]
    texts = np.eye(3)[[0, 1, 2, 1, 1, 2]] * np.array([1, 1, 1, 1, 1, 0])[:, None]
    index = index_of(pictures, texts)
    assert ids(index.search_text("red", 1, "image")) == ["i3"]
    assert ids(index.search_text("red", 1, "text")) == ["i0"]
    assert ids(index.search_text("red", 2, "joint")) == ["i0", "i3"]
    assert ids(index.search_picture(shop / "red0.png", 1)) == ["i3"]
    assert ids(index.search_picture(shop / "red0.png", 1, "text")) == ["i0"]
    alike = {view: index.search_item("i4", 1, view) for view in ("image", "text")}
    assert {view: ids(hits) for view, hits in alike.items()} == {"image": ["i1"], "text": ["i1"]}
    alike = {view: index.search_item("i3", 5, view)[0].score for view in ("image", "text")}
    assert alike == {"image": 0, "text": 1}  # nothing else looks red, and "green" is written twice
    with pytest.raises(InputError, match="item 'i5' has no text"):
        index.search_item("i5", 1, "text")
    with pytest.raises(InputError, match=r"unknown view 'texts'; did you mean 'text'\?"):
        index.search_text("red", view="texts")
    apart = index_of(pictures, texts, "apart")
    with pytest.raises(InputError, match=r"share no space: align it"):
        apart.search_text("red", view="joint")
    with pytest.raises(InputError, match="does not reach the texts"):
        apart.search_picture(shop / "red0.png", view="text")


def test_an_index_of_vectors_alone_is_searched_by_item():
    vectors = Features("vec", "vector:vec", "v", np.eye(3, dtype=np.float32), np.ones(3, bool))
    index = CatalogIndex.build(Catalog(pa.table({"item_id": list("abc")})), [vectors])
    for view in (None, "text", "joint"):
        with pytest.raises(InputError, match=r"has no view .*; it is searched by --item alone"):
            index.search_text("red", view=view)


def test_heads_take_a_query_across(shop):
    rng = np.random.default_rng(0)
    colours = rng.uniform(0.05, 1, (80, 3))
    index = index_of(colours, colours @ rng.normal(size=(3, 3)), "apart", 80, align=True)
    heads, features = index.alignment, index.features
    for side, raw, other in (("image", shop / "red0.png", "text"), ("text", "red", "image")):
        native = unit(np.array([[1, 0, 0]], dtype=np.float32))
        expected = heads.project(side, native) @ heads.project(other, features[other].vectors).T
        hits = index.search(**{"picture" if side == "image" else side: raw}, k=3, view=other)
        best = np.argsort(-expected[0])[:3]
        assert ids(hits) == [f"i{row}" for row in best]
        assert [hit.score for hit in hits] == pytest.approx(expected[0][best].tolist(), abs=1e-5)
    free = index.where("item_id in ['i3', 'i4']")
    assert set(ids(free.search_text("red", 9, "image"))) == {"i3", "i4"}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_words_and_a_picture_are_a_weighted_sum(shop, weight):
    vectors = np.random.default_rng(2).normal(size=(6, 3))
    index = index_of(vectors)
    hits = index.search("blue", shop / "red0.png", 6, weight=weight)
    wanted = unit(np.array([[1 - weight, 0, weight]], dtype=np.float32))
    scores = dict(zip(index.item_ids, (unit(vectors) @ wanted[0]).tolist(), strict=True))
    assert {hit.item_id: hit.score for hit in hits} == pytest.approx(scores, abs=1e-5)


def test_wrong_use(shop, tmp_path, capsys):
    out, picture = str(tmp_path / "out"), str(shop / "red0.png")
    index_of(np.eye(3)[[0, 1, 2, 0, 1, 2]]).save(out)

    def message(*arguments):
        assert main(["search", out, *arguments]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        return told.err

    assert "give --text WORDS, --image FILE or --item ID" in message()
    assert "--item is searched alone" in message("--item", "i0", "--image", picture)
    assert "give --text and --image both" in message("--text", "red", "--weight", ".2")
    assert "give a number from 0 to 1" in message(
        "--text", "a", "--image", picture, "--weight", "2"
    )
    with pytest.raises(InputError, match="nothing is looked for"):
        CatalogIndex.load(out).search()
