"""The page of a search: whole in itself, pictures from the named folder alone."""

import json
import re
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from p5mm.commands.main import main
from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.indexing.catalog_index import CatalogIndex, Hit
from p5mm.indexing.search_page import Asked, search_page

NAMES = ["a.png", "sub/b.png", "../secret.png", "gone.png", None]


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    (folder / "sub").mkdir(parents=True)
    for place, colour in (
        ("shop/a.png", "red"),
        ("shop/sub/b.png", "blue"),
        ("secret.png", "lime"),
    ):
        Image.new("RGB", (40, 20), colour).save(tmp_path / place)
    return folder


@pytest.fixture
def index():
    rows = len(NAMES)
    table = pa.table({
        "item_id": [f"i{row}" for row in range(rows)],
        "name": ["<b>red</b>", "blue", "secret", "gone", "bare"],
        "image": pa.array(NAMES, pa.string()),
    })  # fmt: skip
    vectors = np.eye(rows, dtype=np.float32) + 0.1
    features = Features("vec", "vector:vec", "v", vectors, np.ones(rows, bool))
    return CatalogIndex.build(Catalog(table, ("name",)), [features])


def pictures_of(page):
    return len(re.findall("<symbol ", page))


def test_pictures_of_the_hits_and_of_the_query_are_inside(index, shop):
    hits = [Hit(item, 0.5, rank) for rank, item in enumerate(index.item_ids, 1)]
    asked = Asked("red & round", shop / "a.png", told="view joint")
    page = search_page(index, asked, hits, shop)
    assert pictures_of(page) == 3  # two of the hits, and what was looked for
    assert "red &amp; round" in page
    assert "&lt;b&gt;red&lt;/b&gt;" in page
    assert "<b>red</b>" not in page
    assert "1 · i0 · 0.500" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert pictures_of(search_page(index, Asked("red"), hits)) == 0
    assert "Nothing was found" in search_page(index, Asked("red"), [])


def test_a_tar_beside_the_pictures_is_no_shard(index, shop):
    with tarfile.open(shop / "backup.tar", "w") as tar:
        tar.add(shop / "a.png", "b.png")
    hits = [Hit(item, 0.5, rank) for rank, item in enumerate(index.item_ids, 1)]
    assert pictures_of(search_page(index, Asked("red"), hits, shop)) == 2


def test_a_folder_without_the_pictures_is_told(index, shop, tmp_path):
    with pytest.raises(InputError, match=r"holds none of the pictures found \(first: .*gone.png"):
        search_page(index, Asked("x"), [Hit("i3", 0.5, 1)], shop)
    with pytest.raises(InputError, match="there is no picture folder"):
        search_page(index, Asked("x"), [Hit("i3", 0.5, 1)], tmp_path / "no")


def test_the_command_writes_it(index, shop, tmp_path, capsys):
    out, page = str(tmp_path / "index"), tmp_path / "found.html"
    index.save(out)
    arguments = ["search", out, "--item", "i1", "--html", str(page), "--images", str(shop)]
    assert main([*arguments, "--json", "-k", "1"]) == 0
    told = capsys.readouterr()
    assert [hit["item_id"] for hit in json.loads(told.out)] == ["i0"]
    assert told.err == ""
    assert pictures_of(page.read_text()) == 2
    assert main(arguments) == 0  # over its own page
    page.write_text("my notes")
    assert main(arguments) == 2
    assert page.read_text() == "my notes"
    assert main([*arguments, "--force"]) == 0
    assert main(["search", out, "--item", "i1", "--images", str(shop)]) == 2
    assert "name the page with --html FILE" in capsys.readouterr().err
