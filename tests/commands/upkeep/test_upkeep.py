"""The life of an index, as it is typed: index, status, delete, compact, duplicates."""

import json

import numpy as np
import pytest
from PIL import Image

from p5mm.commands.main import main
from p5mm.encoders.base import encoders
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.serving.since import FORMATS


class MeanColour:
    """A picture's mean colour, away from grey."""

    modality, dim, fingerprint = "image", 3, "colour 1"

    def load(self, raw):
        return np.asarray(Image.open(raw).convert("RGB"), dtype=np.float32).mean((0, 1)) - 127.5

    def encode(self, batch):
        return np.stack(batch)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("P5MM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "_modules", ())
    monkeypatch.setattr(encoders, "_factories", {"tiny.image": MeanColour})
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, colour in enumerate(np.random.default_rng(0).integers(0, 255, (30, 3))):
        draw(folder / f"p{number}.png", colour)
    return folder


def draw(path, colour):
    Image.new("RGB", (8, 8), tuple(int(part) for part in colour)).save(path)


def run(capsys, *arguments):
    """Exit code, standard output, standard error."""
    try:
        code = main([str(one) for one in arguments])
    except SystemExit as error:
        code = error.code
    return (code, *capsys.readouterr())


def index(capsys, pictures, *more):
    out = pictures.parent / "index"
    arguments = ["index", pictures, "--out", out, "--image-encoder", "tiny", "--workers", 0]
    return run(capsys, *arguments, *more)


def test_the_life_of_an_index(pictures, capsys):
    out = pictures.parent / "index"
    code, told, err = index(capsys, pictures)
    assert (code, told) == (0, "")
    assert "30 added, 0 changed, 0 removed, 0 untouched" in err
    draw(pictures / "p3.png", (1, 2, 3))
    draw(pictures / "new.png", (9, 250, 9))
    (pictures / "p4.png").unlink()
    code, told, err = index(capsys, pictures, "--dry-run", "--list")
    assert (code, told) == (0, "+ new\n~ p3\n- p4\n")
    assert "1 added, 1 changed, 1 removed, 28 untouched" in err
    assert "image: 2 to encode, about" in err
    assert "nothing was written" in err
    assert "p4" in CatalogIndex.load(out).item_ids
    code, told, _ = index(capsys, pictures, "--list")
    assert (code, told) == (0, "+ new\n~ p3\n- p4\n")
    assert "0 added, 0 changed, 0 removed, 30 untouched" in index(capsys, pictures, "--list")[2]
    code, _, err = run(capsys, "delete", out, "p5", "p6")
    assert (code, "2 deleted, 28 left" in err) == (0, True)
    code, told, err = run(capsys, "status", out, "--json")
    about = json.loads(told)
    assert (code, err, about["items"], about["deleted"]) == (0, "", 28, 4)
    code, told, err = run(capsys, "status", out)
    assert "28" in told
    assert "segment 000001  30 items, 4 deleted" in told
    assert run(capsys, "compact", out)[0] == 0
    assert "segment 000001  28 items, " in run(capsys, "status", out)[1]
    hits = json.loads(run(capsys, "search", out, "--item", "new", "--k", 50, "--json")[1])
    assert {hit["item_id"] for hit in hits} == {f"p{n}" for n in range(30)} - {"p4", "p5", "p6"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("ids.txt", "p1\r\n\nnothere\np2"), ("ids.csv", "item_id,x\np1,1\nnothere,2\np2,3\n"),
     ("ids.jsonl", '{"id": 1, "item_id": "p1"}\n{"id": 2, "item_id": "p2"}\n')],
)  # fmt: skip
def test_a_list_of_items_to_delete(pictures, capsys, name, text):
    out = pictures.parent / "index"
    index(capsys, pictures)
    (out.parent / name).write_text(text)
    code, told, err = run(capsys, "delete", out, "--ids", out.parent / name)
    assert (code, told) == (0, "")
    assert "2 deleted, 28 left" in err
    assert ("1 id is no item of the index: nothere" in err) == ("nothere" in text)
    code, _, err = run(capsys, "delete", out, "--ids", out.parent / name)  # again
    assert (code, "0 deleted, 28 left" in err) == (0, True)


def test_duplicates_as_table_json_and_page(pictures, capsys, page_of):
    out, page = pictures.parent / "index", pictures.parent / "page.html"
    (pictures / "copy.png").write_bytes((pictures / "p7.png").read_bytes())
    index(capsys, pictures)
    code, told, _ = run(capsys, "duplicates", out, "--threshold", 0.9999)
    assert (code, told.splitlines()[0].split()) == (0, ["items", "alike", "ids"])
    assert "2      same bytes  copy, p7" in told
    arguments = ["duplicates", out, "--threshold", "0.9999", "--html", page, "--images", pictures]
    code, told, err = run(capsys, *arguments, "--json")
    assert json.loads(told) == [{"item_ids": ["copy", "p7"], "likeness": 1.0, "same": True}]
    assert "1 group" in err
    assert len(page_of(page.read_text()).find("image", "href")) == 2
    assert run(capsys, *arguments)[0] == 0  # over its own earlier page
    page.write_text("mine")
    assert run(capsys, *arguments)[0] == 2
    assert page.read_text() == "mine"
    (pictures / "copy.png").unlink()
    index(capsys, pictures)
    code, told, err = run(capsys, "duplicates", out, "--threshold", "0.999999")
    assert (code, told) == (0, "")
    assert "no two items have a cosine of 0.999999 or more" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["delete", "INDEX"], "name the items"),
        (["delete", "INDEX", "p1", "--ids", "x.txt"], "name the items"),
        (["delete", "INDEX", "p1", "p99x"], "1 of 2 ids are no items"),
        (["delete", "INDEX", "--ids", "nowhere.txt"], "nowhere.txt"),
        (["delete", "nowhere", "p1"], "neither an index nor a model"),
        (["compact", "nowhere"], "no index of p5mm"),
        (["status", "nowhere"], "neither an index nor a model"),
        (["status", "nowhere", "--json"], "neither an index nor a model"),
        (["duplicates", "nowhere"], "no index of p5mm"),
        (["duplicates", "INDEX", "--threshold", "2"], "a cosine above 0"),
        (["duplicates", "INDEX", "--threshold", "high"], "invalid float value"),
        (["duplicates", "INDEX", "--by", "text"], "unknown modality 'text'"),
        (["duplicates", "INDEX", "--images", "."], "name the page with --html"),
        (["duplicates", "INDEX", "--html", "p.html", "--images", "no"], "no picture folder no"),
        (["duplicates", "INDEX", "--html", "no/p.html"], "cannot be written"),
    ],
)
def test_wrong_use(pictures, capsys, arguments, message):
    index(capsys, pictures)
    out = str(pictures.parent / "index")
    code, told, err = run(capsys, *[out if one == "INDEX" else one for one in arguments])
    assert (code, told) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_the_status_of_a_model(toy, tmp_path, capsys):
    from p5mm.serving.folder import write_model

    write_model(toy, tmp_path / "model")
    code, told, err = run(capsys, "status", tmp_path / "model", "--json")
    about = json.loads(told)
    assert (code, err, about["kind"], about["items"]) == (0, "", "model", len(toy.catalog))
    assert about["interactions"] == toy.log.table.num_rows
    assert (about["users"], about["decoder"], about["reranker"]["decoder"]) == (80, True, 0.7)
    assert about["validation"] == toy.fitted.tried
    code, told, _ = run(capsys, "status", tmp_path / "model")
    assert code == 0
    assert "decoder     ranks" in told
    (tmp_path / "model" / "config.json").write_text("{}")
    assert run(capsys, "status", tmp_path / "model")[0] == 2


@pytest.fixture
def model(toy, tmp_path):
    from p5mm.serving.folder import write_model

    write_model(toy, tmp_path / "model")
    return tmp_path / "model"


def recommended(capsys, model, users):
    out = model.parent / "out.jsonl"
    code, _, err = run(capsys, "recommend", model, "--users", users, "--k", 60, "--out", out)
    assert code == 0, err
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_the_life_of_a_model(model, toys, capsys):
    users, new = model.parent / "users.jsonl", model.parent / "new.jsonl"
    users.write_text(json.dumps({"user_id": "eve", "history": ["r2s2", "r2s3", "r2s4"]}))
    items = [
        {"item_id": "r2new", "title": "ring2 step5", "style": toys.style(2, 5)},
        {"item_id": "r0s2", "title": "ring0 step2"},
        {"item_id": "r0s3", "title": "ring3 step9"},
    ]
    new.write_text("\n".join(map(json.dumps, items)))
    code, told, err = run(capsys, "add", model, new, "--dry-run", "--list")
    assert (code, told) == (0, "+ r2new\n~ r0s3\n")
    assert "1 added, 1 changed, 1 known" in err
    assert "nothing was written" in err
    assert "r2new" not in {row["item_id"] for row in recommended(capsys, model, users)}
    code, told, err = run(capsys, "add", model, new, "--list")
    assert (code, told) == (0, "+ r2new\n~ r0s3\n")
    first = [row["item_id"] for row in recommended(capsys, model, users)]
    assert "r2new" in first[:10]
    assert "0 added, 0 changed, 3 known" in run(capsys, "add", model, new)[2]

    best = next(item for item in first if item != "r2new")
    code, _, err = run(capsys, "delete", model, "r2new", best)
    assert (code, "2 deleted, 40 left" in err) == (0, True)
    left = [row["item_id"] for row in recommended(capsys, model, users)]
    assert not {"r2new", best} & set(left)

    log = model.parent / "log.csv"
    log.write_text("user_id,item_id,timestamp\nu0,r3s3,30\nu0,r3s3,31\nu0,other,32\n")
    before = recommended(capsys, model, "all")
    code, told, err = run(capsys, "update", model, "--interactions", log)
    assert (code, told) == (0, "")
    assert "2 interactions joined (0 new users), 1 known; 1 with items that are not in" in err
    after = recommended(capsys, model, "all")
    changed = {row["user_id"] for row in [*before, *after] if row not in before or row not in after}
    assert changed == {"u0"}
    about = json.loads(run(capsys, "status", model, "--json")[1])
    assert about["since"] == {"deleted": 2, "later": 2, "added": 1}
    told = run(capsys, "status", model)[1]
    assert "since" in told
    assert "1 item added, 2 deleted; 2 interactions" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "MODEL", "nowhere.csv"], "nowhere.csv"),
        (["add", "nowhere", "NEW"], "no model folder"),
        (["add", "MODEL", "MODEL"], "no pictures are in"),
        (["add", "MODEL", "NEW", "--images", "nowhere"], "no picture folder nowhere"),
        (["add", "MODEL", "ODD"], "a column of another type than that of the model"),
        (["add", "MODEL"], "required: catalog"),
        (["delete", "MODEL", "R0S1"], "1 of 1 ids are no items of the model, such as 'R0S1'"),
        (["delete", "MODEL"], "name the items"),
        (["update", "MODEL"], "nothing is asked for"),
        (["update", "MODEL", "--epochs", "-1"], "--epochs is -1"),
        (["update", "MODEL", "--epochs", "2"], "has learned rating of its retriever"),
        (["update", "nowhere", "--epochs", "2"], "no model folder"),
        (["update", "nowhere", "--interactions", "NEW"], "no model folder"),
        (["update", "MODEL", "--interactions", "NEW"], "no column 'user_id'"),
        (["update", "MODEL", "--interactions", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_wrong_use_of_a_model(model, capsys, arguments, message):
    new, odd = model.parent / "new.jsonl", model.parent / "odd.jsonl"
    new.write_text('{"item_id": "n", "title": "ring0"}')
    odd.write_text('{"item_id": "n", "title": 5}')
    places = {"MODEL": model, "NEW": new, "ODD": odd}
    inode = model.stat().st_ino
    code, told, err = run(capsys, *[places.get(one, one) for one in arguments])
    assert (code, told) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert model.stat().st_ino == inode


def test_a_model_of_another_format_is_told(model, capsys):
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"p5mm": 99}))
    new = model.parent / "new.jsonl"
    new.write_text('{"item_id": "n", "title": "ring0", "user_id": "u"}')
    for arguments in (["add", model, new], ["delete", model, "r0s1"],
                      ["update", model, "--interactions", new], ["status", model]):  # fmt: skip
        code, _, err = run(capsys, *arguments)
        formats = " and ".join(map(str, FORMATS))
        assert code == 2
        assert f"written in format 99; this p5mm reads formats {formats}" in err
