"""Model folders: what may be replaced, and what a stranger may put into them."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from p5mm.commands.main import main
from p5mm.errors import InputError
from p5mm.serving.folder import is_model, read_model, write_model

CONTENT = "vectors.text"


@pytest.fixture(scope="module")
def saved(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    write_model(toy, folder)
    return folder


@pytest.fixture
def model(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def refused(folder, file, message=None):
    with pytest.raises(InputError, match=message) as told:
        read_model(folder)
    assert str(folder / file) in str(told.value)


def arrays(folder, file, change):
    """Changes some arrays of a file; None takes one away."""
    path = folder / file
    given = load_file(path)
    given |= {name: made(given) if callable(made) else made for name, made in change.items()}
    given = {name: np.ascontiguousarray(a) for name, a in given.items() if a is not None}
    save_file(given, path, metadata={"format": "pt"})


def told(folder, path, value, file="config.json"):
    """Changes one value of a JSON file."""
    about = json.loads((folder / file).read_text())
    part = about
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (folder / file).write_text(json.dumps(about))


def test_what_is_written_is_read(toy, saved):
    again = read_model(saved)
    assert again.fitted == toy.fitted
    for name, weight in toy.network.state_dict().items():
        assert weight.equal(again.network.state_dict()[name]), name
    (saved.parent / "probe").touch()
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {(saved.parent / "probe").stat().st_mode}


def test_a_model_and_an_unfinished_training_are_replaced(toy, model, tmp_path):
    training = tmp_path / "training"
    (training / "checkpoint" / "retriever").mkdir(parents=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    (model / "checkpoint").mkdir()
    for folder in (model, training, empty, tmp_path / "new" / "one"):
        write_model(toy, folder)
        assert is_model(folder)
        assert not (folder / "checkpoint").exists()


def test_nothing_else_is_replaced(toy, model, tmp_path):
    mine, file, t5 = tmp_path / "mine", tmp_path / "file", model / "t5"
    mine.mkdir()
    (mine / "catalog.csv").write_text("years of work")
    file.write_text("mine")
    (model / "notes.txt").write_text("mine")
    for folder in (mine, file, t5, model, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError, match="nothing was written"):
            write_model(toy, folder)
        assert sorted(tmp_path.rglob("*")) == before
    assert (mine / "catalog.csv").read_text() == "years of work"
    write_model(toy, mine, force=True)
    assert is_model(mine)
    with pytest.raises(InputError, match="is a file"):
        write_model(toy, file, force=True)
    assert file.read_text() == "mine"


FILES = ["config.json", "model.safetensors", "content.safetensors", "counts.safetensors",
         "prompts.txt", "items.parquet", "interactions.parquet", "t5/config.json",
         "t5/model.safetensors", "t5/tokenizer.json", "index/index.json", "index/ids.parquet",
         "index/index.faiss"]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_what_is_no_such_file_is_told(model, file, capsys):
    whole = (model / file).read_bytes()
    for content in (b"\x80\x04\x95.", b"PK\x03\x04", whole[: len(whole) // 2], None):
        (model / file).unlink()
        if content is not None:
            (model / file).write_bytes(content)
        if not (file == "prompts.txt" and content == whole[: len(whole) // 2]):
            with pytest.raises(InputError):
                read_model(model)
        (model / file).write_bytes(whole)
    (model / file).write_bytes(b"\x80\x04\xff.")
    assert main(["recommend", str(model), "--users", "all", "--out", str(model) + ".parquet"]) == 2
    assert file in capsys.readouterr().err


@pytest.mark.parametrize("file", ["items.parquet", "t5/config.json", "index"])
def test_links_out_of_the_folder_are_not_followed(model, tmp_path, file):
    shutil.move(model / file, tmp_path / "elsewhere")
    (model / file).symlink_to(tmp_path / "elsewhere")
    refused(model, file, "leads out")


def wrapped(arrays_):
    """Row starts whose differences leave int32 and come back above zero."""
    starts = arrays_["after.indptr"].astype(np.int32)
    starts[1:3] = 2**31 - 1, -(2**31)
    return starts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"together.indices": lambda a: a["together.indices"] * 0 + 10**9}, "reaches from 1e\\+09"),
        ({"together.indices": lambda a: a["together.indices"] * 0 - 5}, "reaches from -5"),
        ({"together.indptr": lambda a: a["together.indptr"][::-1]}, "does not rise"),
        ({"together.indptr": lambda a: a["together.indptr"] * 2}, "together.indptr reaches from"),
        ({"together.indptr": lambda a: a["together.indptr"][:-1]}, "shape"),
        ({"together.indices": lambda a: a["together.indices"].astype(np.float32)}, "float32"),
        ({"together.data": lambda a: a["together.data"] * np.nan}, "no finite number"),
        ({"together.data": lambda a: a["together.data"][:-1]}, "shape"),
        ({"together.data": None}, "missing"),
        ({"after.indptr": lambda a: a["after.indptr"][::-1]}, "after.indptr does not rise"),
        ({"after.indptr": wrapped}, "after.indptr reaches from"),
        ({"taken": lambda a: a["taken"] - 10**6}, "taken reaches from"),
        ({"taken": lambda a: a["taken"][:-1]}, "shape"),
        ({"slim.indices": lambda a: a["slim.indices"] + 10**6}, "slim.indices"),
    ],
)
def test_counts_that_lead_elsewhere(model, change, message):
    arrays(model, "counts.safetensors", change)
    refused(model, "counts.safetensors", message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({CONTENT: lambda a: a[CONTENT][:-1]}, "shape"),
        ({CONTENT: lambda a: a[CONTENT][:, 0]}, "shape"),
        ({CONTENT: lambda a: a[CONTENT][:, 1:]}, "shape"),
        ({CONTENT: lambda a: a[CONTENT] * np.nan}, "no finite number"),
        ({CONTENT: lambda a: a[CONTENT].astype(np.float64)}, "float64"),
        ({"present.text": lambda a: a["present.text"].astype(np.float32)}, "float32"),
        ({"mean.text": lambda a: a["mean.text"][1:]}, "shape"),
        ({"axes.text": None}, "missing"),
        ({"odd": np.ones(1, np.float32)}, "unknown array 'odd'"),
    ],
)
def test_content_of_other_sizes(model, change, message):
    arrays(model, "content.safetensors", change)
    refused(model, "content.safetensors", message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items.trained": lambda a: a["items.trained"].astype(np.float32)}, "float32"),
        ({"items.trained": np.ones(100, np.bool_)}, "shape"),
        ({"items.trained": lambda a: a["items.trained"] & False}, "no item was trained"),
        ({"items.trained": None}, "missing"),
        ({"items.residual.weight": lambda a: a["items.residual.weight"] + np.inf}, "finite"),
        ({"rank_head.weight": lambda a: a["rank_head.weight"].T}, "shape"),
        ({"rating_prior.slopes": np.ones(10**5, np.float32)}, "shape"),
        ({"rank_head.weight": None}, "missing"),
        ({"reader.spread": lambda a: a["reader.spread"] * 0}, "reader.spread reaches from 0"),
        ({"reader.scale": lambda a: a["reader.scale"] * -1}, "reader.scale reaches from -"),
        ({"reader.places.weight": lambda a: a["reader.places.weight"][1:]}, "shape"),
        ({"zzz": np.ones(3, np.float32)}, "unknown array"),
    ],
)
def test_weights_that_do_not_fit(model, change, message):
    arrays(model, "model.safetensors", change)
    refused(model, "model.safetensors", message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_layers", 10**6), ("num_decoder_layers", 10**6), ("d_model", 10**9),
        ("vocab_size", 10**9), ("d_ff", 10**9), ("num_heads", 0), ("d_kv", -1), ("d_kv", 10**9),
        ("relative_attention_num_buckets", 0), ("relative_attention_max_distance", 1),
        ("feed_forward_proj", "os:system"), ("feed_forward_proj", "gated-gelu"),
        ("dropout_rate", "x"), ("dropout_rate", 2.0), ("layer_norm_epsilon", 0.0),
        ("d_model", 64.0), ("num_layers", True),
    ],
)  # fmt: skip
def test_a_t5_is_not_built_by_sizes_that_its_weights_do_not_have(model, key, value):
    told(model, [key], value, "t5/config.json")
    refused(model, "t5/config.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("config", "model", "soft_tokens"), "1"), (("config", "model", "soft_tokens"), -1),
        (("config", "model", "fusion"), None), (("config", "model", "fusion"), ["gate"]),
        (("config", "model", "max_history"), 0), (("config", "model", "d_model"), 10**9),
        (("config", "model", "layers"), 10**9), (("config", "retrieval", "index"), "x"),
        (("config", "retrieval", "candidates"), 10**12), (("config", "data", "k_core"), -1),
        (("config", "model", "max_history"), 10**12), (("config", "data", "k_core"), 10**9),
        (("config", "retrieval", "candidates"), None), (("config", "train"), []),
        (("config", "train", "tasks"), ["x"]), (("config", "odd"), 1), (("config",), None),
        (("fitted", "prompt"), [10**9]), (("fitted", "prompt"), [-7]),
        (("fitted", "prompt"), ["a"]),
        (("fitted", "prompt"), []), (("fitted", "items"), ["nope"]), (("fitted", "items"), []),
        (("fitted", "items"), ["r0s1", "r0s1"]), (("fitted", "items"), None),
        (("fitted", "weights"), {"zzz": 1.0}), (("fitted", "weights"), {"neighbours": "x"}),
        (("fitted", "weights"), {"neighbours": 1e308}), (("fitted", "weights"), []),
        (("fitted", "weights"), {"neighbours": float("nan")}),
        (("fitted", "levels"), [5.0, 2.0]), (("fitted", "levels"), [2.0, 2.0]),
        (("fitted", "levels"), [float(i) for i in range(11)]), (("fitted", "levels"), "x"),
        (("fitted", "rating_scale"), [0.0, 0.0]), (("fitted", "rating_scale"), [1.0]),
        (("fitted", "handicap"), "x"), (("fitted", "handicap"), float("nan")),
        (("fitted", "handicap"), 1e300), (("fitted", "lift"), float("inf")),
        (("fitted", "odd"), 1), (("fitted",), {}),
        (("fingerprints",), []), (("fingerprints",), {"x": 1}),
    ],
)  # fmt: skip
def test_a_configuration_from_a_stranger(model, path, value):
    told(model, path, value)
    refused(model, "config.json")


def test_soft_tokens_that_the_weights_do_not_have(model):
    told(model, ("config", "model", "soft_tokens"), 10**9)
    refused(model, "model.safetensors", "items.residual.weight has shape")


@pytest.mark.parametrize("content", [b"[]", b"null", b"5", b'"x"', b'{"p5mm": ' + b"[" * 10**5])
def test_a_configuration_that_is_none(model, content):
    (model / "config.json").write_bytes(content)
    refused(model, "config.json")


def test_content_of_a_modality_that_nobody_encoded(model):
    told(model, ("fingerprints",), {"text": "x"})
    refused(model, "content.safetensors", "unknown array")


def test_an_index_of_other_items(model):
    path = model / "index" / "ids.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), path)
    refused(model, "index", "its ids are not those")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.slice(0, 0), lambda t: t.slice(1), lambda t: t.replace_schema_metadata(),
        lambda t: pa.concat_tables([t.slice(0, 20), t.slice(0, 21)]),
        lambda t: t.replace_schema_metadata({b"p5mm.catalog": b'{"text": ["nope"]}'}),
        lambda t: t.replace_schema_metadata({b"p5mm.catalog": b'{"text": 5}'}),
        lambda t: t.set_column(0, "item_id", pa.nulls(t.num_rows, pa.string())),
        lambda t: t.set_column(1, "title", pa.array([{"a": 1}] * t.num_rows)),
    ],
)  # fmt: skip
def test_items_that_are_none(model, change):
    path = model / "items.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(InputError, match=r"(items|model|content)\.(parquet|safetensors)"):
        read_model(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.slice(0, 0), lambda t: t.rename_columns(["x", *t.column_names[1:]]),
        lambda t: t.set_column(1, "item_id", pa.array(["zz"] * t.num_rows)),
        lambda t: t.set_column(1, "item_id", pa.array([[1]] * t.num_rows)),
    ],
)  # fmt: skip
def test_a_log_that_is_none(model, change):
    path = model / "interactions.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    refused(model, "interactions.parquet")


def test_a_tokenizer_of_more_tokens_or_padding(model):
    path = model / "t5" / "tokenizer.json"
    about = json.loads(path.read_text())
    about["padding"] = {
        "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    path.write_text(json.dumps(about))
    assert len(read_model(model).tokenizer.encode("a").ids) < 10
    about["added_tokens"].append(about["added_tokens"][0] | {"id": 99_999, "content": "<odd>"})
    about["model"]["vocab"]["<odd>"] = 99_999
    path.write_text(json.dumps(about))
    refused(model, "t5/tokenizer.json", "its highest token is 99999")


def test_a_reader_sees_the_old_model_or_the_new(model, toy, monkeypatch):
    """A model that is replaced while it is read is read again, whole."""
    from p5mm.serving import folder as module

    replaced, real = [], module.read_items

    def read(path, remedy):
        catalog = real(path, remedy)
        if not replaced:
            replaced.append(write_model(toy, model))
        return catalog

    monkeypatch.setattr(module, "read_items", read)
    calls = []
    monkeypatch.setattr(module, "check_form", lambda path: calls.append(path))
    assert read_model(model).fitted == toy.fitted
    assert len(calls) == 2
