import json
import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p5mm.data.catalog import Catalog
from p5mm.data.pictures import scan
from p5mm.errors import InputError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture of " + os.fsencode(name))
    return folder


def catalog(images=None, text=None, **columns):
    return Catalog.from_table(pa.table(columns), images, text)


def test_a_table_with_every_modality(tmp_path):
    touch(tmp_path / "img", "a.png")
    path = tmp_path / "items.jsonl"
    rows = [
        {"item_id": "007", "title": " Tea ", "tags": ["hot", "green"], "v": [1, 0.5], "price": 3},
        {"item_id": "x", "title": "", "tags": [], "v": None, "price": 4},
    ]
    rows[0]["image"] = "a.png"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    items = Catalog.read(path, images=tmp_path / "img")
    assert items.item_ids == ["007", "x"]
    assert items.fields == ("image", "text", "v")
    assert items.text == ("title", "tags")
    assert items.raw("text") == ["Tea. hot, green", None]
    assert items.raw("title") == ["Tea", None]
    assert items.titles == [" Tea ".strip(), "x"]
    vectors = items.raw("v")
    assert vectors[0].tolist() == [1, 0.5]
    assert vectors[0].dtype == np.float32
    assert vectors[1] is None
    assert items.picture("007") == tmp_path / "img" / "a.png"
    assert items.raw("image") == [tmp_path / "img" / "a.png", None]
    assert items.quarantine == ()


def test_without_images_paths_are_beside_the_table(tmp_path):
    touch(tmp_path, "pics/a.jpg")
    (tmp_path / "items.csv").write_text("item_id,image\na,pics/a.jpg\n")
    assert Catalog.read(tmp_path / "items.csv").picture("a") == tmp_path / "pics" / "a.jpg"


def test_chosen_text_columns_may_be_numbers():
    items = catalog(item_id=["a"], title=["x"], year=[1999], text=["year", "title"])
    assert items.raw("text") == ["1999. x"]
    with pytest.raises(InputError, match="did you mean 'title'"):
        catalog(item_id=["a"], title=["x"], text=["tilte"])


def test_a_column_that_is_no_text_of_the_items_can_be_read_by_an_encoder():
    items = catalog(item_id=["a", "b"], title=["x", "y"], clip=["a.wav", None], text=["title"])
    assert items.raw("text") == ["x", "y"]
    assert items.raw("clip") == ["a.wav", None]
    items = catalog(item_id=["a", "b", "c"], clip=[b"RIFF", None, b""])
    assert items.raw("clip") == [b"RIFF", None, None]
    with pytest.raises(InputError, match=r"unknown catalog field 'item_id'.*Allowed: clip"):
        items.raw("item_id")


def test_several_columns_are_the_cells_of_each_item():
    items = catalog(item_id=["a", "b", "c"], kind=["tea", None, None], price=[1.5, 2.0, None])
    expected = [{"kind": "tea", "price": 1.5}, {"kind": None, "price": 2.0}, None]
    assert items.raw(("kind", "price")) == expected
    assert items.raw(["price"]) == [{"price": 1.5}, {"price": 2.0}, None]
    with pytest.raises(InputError, match="did you mean 'price'"):
        items.raw(["prize"])
    with pytest.raises(InputError, match="unknown catalog column 'item_id'"):
        items.raw(["item_id"])
    items = catalog(item_id=["a"], v=[[1.0, 2.0]], clip=[b"RIFF"], kind=["tea"])
    for name in ("v", "clip"):
        with pytest.raises(InputError, match=r"unknown catalog column.*Allowed: kind$"):
            items.raw(("kind", name))


def test_unknown_fields_and_items_are_named():
    items = catalog(item_id=["a"], title=["x"])
    with pytest.raises(InputError, match="unknown catalog field 'image'"):
        items.raw("image")
    with pytest.raises(InputError, match="unknown item 'b'"):
        items.picture("b")


def test_titles_fall_back_to_the_first_text_and_the_id():
    assert catalog(item_id=["a", "b"], about=["x" * 99, None]).titles == ["x" * 80, "b"]
    assert catalog(item_id=["a"]).titles == ["a"]
    assert catalog(item_id=["a"], about=["x"], name=["n"]).titles == ["n"]


def test_titles_are_one_line_and_no_escape_sequence():
    items = catalog(item_id=["a", "b\x1b[2J"], title=["tea\x1b[31m\nred\u202e", None])
    assert items.titles == ["tea\ufffd[31m red\ufffd", "b\ufffd[2J"]
    assert catalog(item_id=["b\x1b[2J"]).titles == ["b\ufffd[2J"]


def test_objects_are_no_text():
    items = catalog(item_id=["a"], about=[{"a": 1}], text=["about"])
    with pytest.raises(InputError, match="'about' is of type struct"):
        items.raw("text")


def test_movie_ids_are_taken_as_item_ids_and_said(caplog):
    caplog.set_level("INFO")
    items = catalog(movieId=["7"], title=["Heat"], genres=["Crime"])
    assert items.item_ids == ["7"]
    assert items.text == ("title", "genres")
    assert "the column 'movieId' is taken as 'item_id'" in caplog.text


def test_stems_ignore_the_case_of_suffixes(tmp_path):
    touch(tmp_path, "a.PNG", "b.png", "b.jpg", "c.txt", "sub/d.webp", ".e.jpg", "7.jpeg")
    items = catalog(tmp_path, item_id=["a", "b", "c", "sub/d", ".e", "7"])
    both = (tmp_path / "b.jpg", tmp_path / "b.png")
    one = [tmp_path / name for name in ("a.PNG", "sub/d.webp", "7.jpeg")]
    assert items.raw("image") == [one[0], both, None, one[1], None, one[2]]
    assert items.picture("b") == both[0]
    assert items.quarantine == ()


def test_a_picture_never_leads_out_of_its_folder(tmp_path):
    inside = touch(tmp_path / "in", "a.jpg", "deep/b.jpg")
    touch(tmp_path / "in2", "c.jpg")
    (inside / "good.jpg").symlink_to(inside / "a.jpg")
    (inside / "out.jpg").symlink_to(tmp_path / "in2" / "c.jpg")
    (inside / "door").symlink_to(tmp_path / "in2")
    (inside / "dangling.jpg").symlink_to(inside / "nowhere.jpg")
    (inside / "loop.jpg").symlink_to(inside / "loop.jpg")
    os.mkfifo(inside / "pipe.jpg")
    reasons = {
        "a.jpg": None,
        "deep/b.jpg": None,
        "deep/../a.jpg": "leaves the picture folder",
        "good.jpg": None,
        "../in2/c.jpg": "leaves the picture folder",
        str(tmp_path / "in2" / "c.jpg"): "leaves the picture folder",
        "out.jpg": "a link out of",
        "door/c.jpg": "a link out of",
        "dangling.jpg": "no such file",
        "loop.jpg": "no such file",
        "none.jpg": "no such file",
        "a\0.jpg": "no such file",
        "n" * 300: "no such file",
        "pipe.jpg": "no plain file",
        "deep": "no plain file",
        "https://example.org/a.jpg": "is an address",
        "": None,
    }
    ids = [str(n) for n in range(len(reasons))]
    items = catalog(inside, item_id=ids, image=list(reasons))
    said = dict(items.quarantine)
    for item, picture, reason in zip(ids, items.raw("image"), reasons.values(), strict=True):
        assert (item in said) == (reason is not None), (item, said.get(item))
        assert reason is None or reason in said[item]
        assert reason is None or picture is None
    assert sum(p is not None for p in items.raw("image")) == 3
    by_stem = catalog(inside, item_id=["a", "out", "door/c", "good"])
    assert by_stem.quarantine == (("out", "'out.jpg' is a link out of the picture folder"),)
    assert [p is not None for p in by_stem.raw("image")] == [True, False, False, True]


def test_a_folder_of_pictures(tmp_path):
    touch(tmp_path, "b.jpg", "a 1.png", "sub/a.gif", "note.txt", ".x/y.jpg")
    items = Catalog.read(tmp_path)
    assert items.item_ids == ["a 1", "b", "sub/a"]
    assert items.fields == ("image",)
    assert items.picture("sub/a") == tmp_path / "sub" / "a.gif"
    with pytest.raises(InputError, match="no pictures are in"):
        Catalog.read(touch(tmp_path / "n", "a.md"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(
        st.builds(
            "".join,
            st.tuples(
                st.sampled_from(["a", "b", "d/a"]),
                st.lists(st.sampled_from([".jpg", ".png"]), max_size=3).map("".join),
            ),
        ),
        max_size=8,
    )
)
def test_ids_of_a_folder_cover_all_pictures_and_no_neighbour_changes_them(tmp_path_factory, names):
    folder = touch(tmp_path_factory.mktemp("f"), *names)
    pictures = [name for name in names if name.endswith((".jpg", ".png"))]
    scanned = scan(folder)
    assert list(scanned) == sorted({os.path.splitext(name)[0] for name in pictures})
    assert sorted(picture for of in scanned.values() for picture in of) == sorted(set(pictures))
    assert all(os.path.splitext(p)[0] == item for item, of in scanned.items() for p in of)
    before = set(scanned)
    touch(folder, *(f"{item}.png" for item in before))
    assert set(scan(folder)) == before


def test_pictures_in_bytes(tmp_path):
    items = catalog(item_id=["a", "b", "c"], image=[b"x", None, b""])
    assert items.raw("image") == [b"x", None, None]
    items.write(tmp_path / "items.parquet")
    assert Catalog.load(tmp_path / "items.parquet").raw("image") == [b"x", None, None]


def test_saved_and_loaded_with_and_without_pictures(tmp_path):
    images = touch(tmp_path / "img", "a.jpg")
    items = catalog(images, ["title"], item_id=["a"], title=["t"], note=["n"], image=["a.jpg"])
    items.write(tmp_path / "items.parquet")
    assert str(tmp_path).encode() not in (tmp_path / "items.parquet").read_bytes()
    bare = Catalog.load(tmp_path / "items.parquet")
    assert (bare.text, bare.fields, bare.quarantine) == (("title",), ("text",), ())
    assert bare.picture("a") is None
    whole = Catalog.load(tmp_path / "items.parquet", images)
    assert whole.raw("image") == items.raw("image")
    assert whole.text == ("title",)
    (tmp_path / "t.csv").write_text("item_id\na\n")
    with pytest.raises(InputError, match="no saved catalog"):
        Catalog.load(tmp_path / "t.csv")


def test_integer_lists_of_one_length_are_vectors():
    items = catalog(item_id=["a", "b"], colours=[[1, 0], [0, 1]], tags=[[1], [2, 3]])
    assert items.vectors == ("colours",)
    fixed = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    rows = catalog(item_id=["a", "b"], v=fixed).raw("v")
    assert rows[0].tolist() == [1, 2]
    assert rows[1] is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": ["x", "y", "x"]}, "more than once: 'x'"),
        ({"item_id": ["x", None, ""]}, "rows 2, 3 have no item_id"),
        ({"item_id": pa.array([], "string")}, "is empty"),
        ({"id": ["x"]}, "Rename 'id' to 'item_id'"),
        ({"item_id": ["x", "y"], "v": [[1.0], [1.0, 2.0]]}, "item 'y' has 2"),
        ({"item_id": ["x", "y"], "v": [[1.0], [float("nan")]]}, "'v' of item 'y'"),
        ({"item_id": ["x", "y"], "v": [[1.0, 2.0], [None, 1.0]]}, "'v' of item 'y'"),
        ({"item_id": ["x"], "image": [[1.0]]}, "rename it to 'image_vector'"),
        ({"item_id": ["x"], "image": ["a.jpg"]}, "--images DIR"),
        ({"item_id": ["x"], "image": [3]}, "paths or bytes"),
        ({"item_id": [["x"]]}, "'item_id' is of type list<.*ids are strings or integers"),
        ({"item_id": [{"a": 1}]}, "'item_id' is of type struct<.*ids are strings or integers"),
        ({"item_id": [b"x"]}, "'item_id' is of type binary; ids are strings or integers"),
    ],
)
def test_what_is_refused(columns, message):
    with pytest.raises(InputError, match=message):
        catalog(**columns)


def test_a_picture_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="no picture folder"):
        catalog(tmp_path / "none", item_id=["x"])


def test_columns_of_codes_are_no_text_unless_asked_for():
    table = pa.table({"item_id": ["a"], "ASIN": ["B004"], "title": ["Red lipstick"]})
    assert Catalog.from_table(table).raw("text") == ["Red lipstick"]
    assert Catalog.from_table(table, text=["ASIN"]).raw("text") == ["B004"]
