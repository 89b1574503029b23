import logging
import time

import pytest
from huggingface_hub import constants

from p5mm.encoders import frozen
from p5mm.encoders.build import make_encoder
from p5mm.errors import InputError

HUB_SPECS = [
    ("open_clip:ViT-B-32/laion2b_s34b_b79k", "image"),
    ("open_clip:ViT-B-32/laion2b_s34b_b79k", "text"),
    ("timm:tf_efficientnet_lite0", "image"),
    ("hf:nobody/nothing", None),
    ("hf:nobody/nothing", "text"),
    ("hf:nobody/nothing", "image"),
]


class Session:
    """A hub that answers, is silent, or cannot be found; counts how often it is asked."""

    def __init__(self, error=None, seconds=0.0):
        self.error, self.seconds, self.asked = error, seconds, 0

    def head(self, url, timeout):
        self.asked += 1
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return "an answer"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    def of(session):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
        return session

    return of


@pytest.mark.parametrize(("spec", "modality"), HUB_SPECS)
def test_a_silent_hub_is_asked_once_and_told_once(spec, modality, hub, caplog, capfd):
    session = hub(Session(OSError("Name or service not known")))
    handlers, filters = list(logging.getLogger().handlers), list(logging.getLogger().filters)
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        make_encoder(spec, modality)
    assert time.monotonic() - start < 20  # loading the libraries; it was a minute of retries
    assert session.asked == 1
    message = str(caught.value)
    for words in (spec.partition(":")[2], "huggingface.co cannot be reached", "'embedded'",
                  'pip install "p5mm[embedded]"', "hf:FOLDER"):  # fmt: skip
        assert words in message
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert capfd.readouterr().err == ""
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().filters == filters
    assert not constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN


def test_a_hub_that_never_answers_is_left_after_seconds(hub, monkeypatch):
    monkeypatch.setattr(frozen, "HUB_SECONDS", 0.2)
    hub(Session(seconds=30))
    monkeypatch.setattr(frozen.threading.Thread, "join", _short_join)
    start = time.monotonic()
    with pytest.raises(InputError, match="no answer in time"), frozen.loading("hf:a/b"):
        raise OSError("not in the cache")
    assert time.monotonic() - start < 5


def _short_join(self, timeout=None, join=frozen.threading.Thread.join):
    join(self, min(timeout or 1, 1.2))


def test_a_hub_that_answers_is_used(hub):
    session = hub(Session())
    with frozen.loading("hf:a/b"):
        assert not constants.HF_HUB_OFFLINE
    assert session.asked == 1
    with pytest.raises(InputError, match=r"it is broken\.\nGive a local"):  # noqa: SIM117
        with frozen.loading("hf:a/b"):
            raise OSError("it is broken")


def test_a_local_model_asks_no_hub(hub, specs):
    session = hub(Session())
    for spec, modality in specs.values():
        if spec != "embedded":
            make_encoder(spec, modality)
    assert session.asked == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:./nothere", r"there is no such folder: /.*/nothere"),
        ("hf:/nothere/at/all", "there is no such folder: /nothere/at/all"),
        ("hf:models/not/here", r"there is no such folder: /.*/models/not/here"),
        ("hf:.", r"no config.json in the folder /"),
        ("timm:./nothere", r"no config.json in the folder /.*/nothere"),
        ("timm:resnet18/./w.safetensors", r"there is no file /.*/w.safetensors"),
        ("open_clip:./nothere", r"no open_clip_config.json in the folder /.*/nothere"),
        ("open_clip:ViT-B-32/./w.pt", r"there is no file /.*/w.pt"),
    ],
)
def test_a_path_that_is_not_there_says_where_it_looked(spec, message, tmp_path, monkeypatch, hub):
    session = hub(Session())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        make_encoder(spec)
    assert session.asked == 0


def test_weights_that_do_not_fit_are_a_short_message(clip_folder, timm_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(clip_folder / "open_clip_model.safetensors")
    other = {name: tensor for name, tensor in weights.items() if "resblocks" not in name}
    save_file(other | {"more": other["logit_scale"].clone()}, tmp_path / "other.safetensors")
    (tmp_path / "text.pt").write_text("no weights")
    for spec in (
        f"open_clip:ViT-B-32/{clip_folder}/open_clip_model.safetensors",
        f"open_clip:ViT-B-32/{timm_folder}/model.safetensors",
        f"open_clip:ViT-B-32/{tmp_path}/other.safetensors",
        f"open_clip:ViT-B-32/{tmp_path}/text.pt",
        f"timm:resnet18/{timm_folder}/model.safetensors",
        f"timm:resnet18/{tmp_path}/text.pt",
    ):
        with pytest.raises(InputError, match="cannot load the encoder") as caught:
            make_encoder(spec)
        message = str(caught.value)
        assert message.count("\n") <= 1
        assert len(message) < 800
        assert "it looked at" in message
        assert "hub" not in message
