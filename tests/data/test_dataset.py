import os
from pathlib import Path

import pytest

from p5mm.config import DataConfig
from p5mm.data.dataset import open_dataset
from p5mm.errors import InputError

DATA = Path(os.environ.get("P5MM_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "catalog.csv").write_text("item_id,title\na,A\nb,B\nc,C\n")
    log = ["user_id,item_id,timestamp", *(f"{u},{i},{t}" for u in "uv" for t, i in enumerate("ab"))]
    (tmp_path / "interactions.csv").write_text("\n".join([*log, "u,c,9", "u,gone,9", "w,gone,1"]))
    return tmp_path


def test_items_outside_the_catalog_are_left_out_before_the_core(folder, caplog):
    data = open_dataset(DataConfig(str(folder), k_core=2))
    assert len(data.log) == 7
    assert data.interactions.item_ids == ["a", "b"]
    assert data.interactions.user_ids == ["u", "v"]
    assert len(data.catalog) == 3
    assert "left out: 2 interactions of 7, with items that are not in the catalog" in caplog.text


def test_auto_says_what_it_takes_the_data_for(folder, caplog):
    with caplog.at_level("INFO"):
        open_dataset(DataConfig(str(folder)))
    assert "is read as tables" in caplog.text


def test_files_named_below_the_root_or_anywhere(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "log.txt"
    other.write_text("u a b\n")
    named = DataConfig(str(folder), catalog="catalog.csv", interactions=str(other))
    assert open_dataset(named).interactions.item_ids == ["a", "b"]
    rootless = DataConfig(catalog=str(folder / "catalog.csv"), interactions=str(other))
    assert len(open_dataset(rootless).catalog) == 3


def test_a_picture_that_is_refused_is_said(folder, caplog):
    (folder / "catalog.csv").write_text("item_id,image\na,../x.jpg\nb,\n")
    (folder / "images").mkdir()
    assert open_dataset(DataConfig(str(folder))).catalog.quarantine[0][0] == "a"
    assert "1 picture is left out, the first of item a" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": "/no/such/folder"}, "does not exist; give another with --data FOLDER"),
        ({"root": __file__}, "is a file, no folder"),
        ({"root": None}, "no data is named"),
        ({"catalog": "none.csv"}, "check 'catalog: none.csv'"),
        ({"images": "none"}, "check 'images: none'"),
        ({"reader": "movielense"}, "did you mean 'movielens'"),
        ({"reader": "movielens"}, "no MovieLens log is in"),
        ({"reader": "p5"}, "no P5 id map is in"),
        ({"text": ("tittle",)}, "did you mean 'title'"),
        ({"k_core": -1}, "give 0"),
        ({"k_core": 9}, "give a smaller k_core"),
    ],
)
def test_what_cannot_be_opened(folder, change, message):
    with pytest.raises(InputError, match=message):
        open_dataset(DataConfig(**{"root": str(folder), **change}))


def test_a_folder_of_nothing_known(tmp_path):
    (tmp_path / "README.txt").write_text("some words\n")
    with pytest.raises(InputError, match="no data of a known form"):
        open_dataset(DataConfig(str(tmp_path)))


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data")
def test_the_shared_data_as_published():
    films = open_dataset(DataConfig(str(DATA / "ml-100k"), k_core=5))
    assert (len(films.log), len(films.interactions), len(films.catalog)) == (100000, 99287, 1682)
    assert sum(picture is not None for picture in films.catalog.raw("image")) == 1663
    assert films.catalog.quarantine == ()
    sequences = DataConfig(
        str(DATA / "ml-100k"),
        reader="sequences",
        catalog="items.tsv",
        interactions="openp5_sequences.txt",
        images="posters",
    )
    again = open_dataset(sequences)
    assert (len(again.interactions), again.catalog.fields) == (99287, ("image", "text"))
    beauty = open_dataset(DataConfig(str(DATA / "amazon-beauty"), text=("title",)))
    log = beauty.interactions
    assert (len(log.user_ids), len(log.item_ids), len(log)) == (22363, 12101, 198502)
    assert sum(text is None for text in beauty.catalog.raw("text")) == 7


def test_shuffled_ties_are_shuffled_everywhere(folder):
    rows = [f"u,{item},1" for item in "abcba"] + [
        f"v,{item},{time}" for time, item in enumerate("abc")
    ]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    plain = open_dataset(DataConfig(str(folder)))
    orders = set()
    for seed in range(5):
        data = open_dataset(DataConfig(str(folder), shuffle_ties=seed))
        assert data.interactions.table.equals(data.log.table)
        assert data.log.table.slice(5).equals(plain.log.table.slice(5))
        orders.add("".join(data.log.table["item_id"].to_pylist()[:5]))
    assert len(orders) > 2


def test_a_sequence_file_has_no_ties_to_shuffle(tmp_path):
    (tmp_path / "sequential.txt").write_text("1 11 12 13\n2 11 13\n")
    with pytest.raises(InputError, match="in a sequence file"):
        open_dataset(DataConfig(str(tmp_path), shuffle_ties=3))


def test_renumbered_items_keep_what_they_are_and_who_took_them(folder):
    (folder / "interactions.csv").write_text(
        "user_id,item_id,timestamp\nu,a,1\nu,c,2\nv,b,1\nv,gone,2\n"
    )
    data = open_dataset(DataConfig(str(folder)))
    orders = set()
    for seed in range(6):
        other = data.renumbered(seed)
        titles = other.catalog.table["title"].to_pylist()
        title_of = dict(zip(other.catalog.item_ids, titles, strict=True))
        assert other.catalog.item_ids == sorted(other.catalog.item_ids)
        assert other.catalog.text == data.catalog.text
        for log in (other.interactions, other.log):
            assert [title_of[i] for i in log.table["item_id"].to_pylist()] == ["A", "C", "B"]
        orders.add("".join(titles))
    assert len(orders) > 2


def test_pictures_move_with_renumbered_items(folder):
    (folder / "catalog.csv").write_text("item_id,image\na,a.png\nb,\nc,c.png\n")
    for name in "ac":
        (folder / f"{name}.png").write_bytes(b"picture")
    data = open_dataset(DataConfig(str(folder)))
    other = data.renumbered(1)
    named = [path and path.name for path in other.catalog.raw("image")]
    assert named == other.catalog.table["image"].to_pylist()
    assert other.catalog.images == data.catalog.images  # below which other columns name files
    assert sorted(map(str, named)) == ["None", "a.png", "c.png"]


def test_a_catalog_alone_is_led_to_a_base(folder):
    (folder / "interactions.csv").unlink()
    with pytest.raises(InputError, match=r"catalog\.csv is a catalog, .* --model\.base BASE"):
        open_dataset(DataConfig(str(folder)))
