"""A training's state on disk, damaged in every way."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from p5mm.errors import InputError
from p5mm.training.checkpoint import (
    Checkpoint,
    Progress,
    optimizer_tensors,
    restore_optimizer,
)


@pytest.fixture
def optimizer():
    parameters = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(2))]
    made = torch.optim.AdamW(parameters)
    sum((p * p).sum() for p in parameters).backward()
    made.step()
    return made


@pytest.fixture
def tensors(optimizer):
    weights = {f"weight.{i}": p for i, p in enumerate(optimizer.param_groups[0]["params"])}
    return weights | optimizer_tensors(optimizer)


@pytest.fixture
def like(tensors):
    return {name: tensor for name, tensor in tensors.items() if name.startswith("weight")}


@pytest.fixture
def kept(tmp_path, tensors):
    checkpoint = Checkpoint(tmp_path / "c", "key")
    checkpoint.save(Progress(epoch=4, log=[{"epoch": 1, "loss": 2.5}]), tensors)
    return checkpoint


def refused(kept, like, optimizer, file, message=None):
    with pytest.raises(InputError, match=message) as told:
        kept.load(like, optimizer)
    assert str(kept.folder / file) in str(told.value)
    assert f"delete {kept.folder} to train anew" in str(told.value)


def test_what_is_kept_comes_back(kept, tensors, like, optimizer):
    progress, again = kept.load(like, optimizer)
    assert progress == Progress(epoch=4, log=[{"epoch": 1, "loss": 2.5}])
    assert all(tensor.equal(again[name]) for name, tensor in tensors.items())
    assert again.keys() == tensors.keys()
    restore_optimizer(optimizer, again)
    assert Checkpoint(kept.folder.parent / "none", "key").load(like) is None


def test_there_is_one_state_with_the_rights_of_the_umask(kept, tensors):
    kept.save(Progress(epoch=5), tensors)
    (kept.folder / "probe").touch()
    files = {path.name: path.stat().st_mode for path in kept.folder.iterdir()}
    assert files.keys() == {"state.json", "epoch-5.safetensors", "probe"}
    assert len(set(files.values())) == 1


@pytest.mark.parametrize("file", ["state.json", "epoch-4.safetensors"])
@pytest.mark.parametrize("how", ["cut", "empty", "pickle"])
def test_a_damaged_file_is_named(kept, like, optimizer, file, how):
    path = kept.folder / file
    whole = path.read_bytes()
    contents = {"cut": whole[: len(whole) // 2], "empty": b"", "pickle": b"\x80\x04\x95."}
    path.write_bytes(contents[how])
    refused(kept, like, optimizer, file)


def test_tensors_that_are_gone_or_lie_elsewhere(kept, like, optimizer, tmp_path):
    file = kept.folder / "epoch-4.safetensors"
    (tmp_path / "elsewhere").write_bytes(file.read_bytes())
    file.unlink()
    refused(kept, like, optimizer, file.name, "missing")
    file.symlink_to(tmp_path / "elsewhere")
    refused(kept, like, optimizer, file.name, "link")


@pytest.mark.parametrize(
    "change",
    [
        {"tensors": "../elsewhere"}, {"tensors": "/etc/passwd"}, {"tensors": 5}, {"tensors": None},
        {"progress": []}, {"progress": {}}, {"progress": {"epoch": 1}}, {"odd": 1}, {"key": 5},
    ],
)  # fmt: skip
def test_a_state_of_other_words(kept, like, optimizer, change):
    path = kept.folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(kept, like, optimizer, "state.json")


@pytest.mark.parametrize(
    ("name", "value"), [("epoch", "4"), ("epoch", 4.5), ("log", {}), ("log", [[1]]), ("odd", 1)]
)
def test_progress_of_other_types(kept, like, optimizer, name, value):
    path = kept.folder / "state.json"
    state = json.loads(path.read_text())
    state["progress"][name] = value
    path.write_text(json.dumps(state))
    refused(kept, like, optimizer, "state.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight.0": None}, "'weight.0' is missing"),
        ({"weight.0": torch.ones(2, 3)}, r"weight\.0 has shape \[2, 3\]; it must be \[3, 2\]"),
        ({"weight.0": torch.ones(3, 2, dtype=torch.float64)}, "float64"),
        ({"optimizer.0.exp_avg": torch.ones(5)}, "shape"),
        ({"optimizer.1.step": torch.ones(5)}, "shape"),
        ({"optimizer.9.step": torch.ones(())}, "unknown tensor"),
        ({"optimizer.0.odd": torch.ones(())}, "unknown tensor"),
        ({"odd": torch.ones(())}, "unknown tensor 'odd'"),
    ],
)
def test_tensors_that_do_not_fit(kept, like, optimizer, change, message):
    path = kept.folder / "epoch-4.safetensors"
    tensors = load_file(path) | change
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    refused(kept, like, optimizer, path.name, message)
