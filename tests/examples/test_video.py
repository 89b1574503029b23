import io
import sys

import numpy as np
import pytest
from PIL import Image

from p5mm.encoders.picture import read_picture
from p5mm.testing import check_encoder

HUES = (0, 85, 170)


class ToyPicture:
    """The mean colour of a picture, at unit length."""

    modality, dim, fingerprint = "image", 3, "mean colour, version 1"

    def load(self, raw):
        return np.asarray(read_picture(raw), np.float32).mean((0, 1)) + 1

    def encode(self, batch):
        vectors = np.asarray(batch, np.float32).reshape(-1, 3)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def video(example):
    made = type(sys)("toy_pictures")
    made.ToyPicture = ToyPicture
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "toy_pictures", made)
        yield example("video")


SPEC = "video:VideoEncoder:toy_pictures:ToyPicture"


def pictures(hue: int, frames: int = 12, size=(48, 32)) -> list[Image.Image]:
    """A bright bar that wanders over a coloured ground."""
    made = []
    for number in range(frames):
        pixels = np.full((size[1], size[0], 3), (hue, 200, 180), np.uint8)
        pixels[:, number * size[0] // frames :][:, :4] = (hue, 60, 250)
        made.append(Image.fromarray(pixels, "HSV").convert("RGB"))
    return made


def animated(frames, form="GIF", **how) -> bytes:
    out = io.BytesIO()
    frames[0].save(out, form, save_all=True, append_images=frames[1:], duration=40, **how)
    return out.getvalue()


def film(frames, form="mp4", sound=False) -> bytes:
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        if sound:
            stream = container.add_stream("aac" if form == "mp4" else "libopus", rate=48_000)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
            silence.sample_rate = 48_000
            packets = [silence, None]
        else:
            stream = container.add_stream("mpeg4" if form != "webm" else "libvpx", rate=25)
            stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
            packets = [*map(av.VideoFrame.from_image, frames), None]
        for packet in packets:
            container.mux(stream.encode(packet))
    return out.getvalue()


def vector(encoder, raw):
    return encoder.encode([encoder.load(raw)])[0]


def test_it_keeps_the_contract(video, tmp_path):
    gif = animated(pictures(0))
    check_encoder(
        video.VideoEncoder("toy_pictures:ToyPicture"),
        samples=[gif, animated(pictures(85, 3), "WEBP"), animated(pictures(170, 40))],
        broken=[gif[: len(gif) // 2], gif[:40], b"", b"no video", tmp_path, 7],
        again=lambda: video.VideoEncoder("toy_pictures:ToyPicture"),
    )


@pytest.mark.parametrize("form", ["mp4", "mov", "matroska", "webm", "avi"])
def test_films_give_the_vector_of_their_pictures(video, form):
    encoder = video.VideoEncoder("toy_pictures:ToyPicture")
    frames = pictures(85, 30)
    made = film(frames, form)
    assert vector(encoder, made) @ vector(encoder, animated(frames, "WEBP", lossless=True)) > 0.999
    for broken in (made[:20], made[:100], made[:11]):
        with pytest.raises(ValueError, match=r"video|frame|neither"):
            encoder.load(broken)


def test_a_cut_film_is_refused_where_it_says_how_long_it_is(video):
    encoder = video.VideoEncoder("toy_pictures:ToyPicture")
    whole = film(pictures(85, 100, (96, 64)), "avi")
    for share in (0.5, 0.8):
        with pytest.raises(ValueError, match=r"cut: \d+ of its 100 frames"):
            encoder.load(whole[: int(share * len(whole))])


def test_a_film_keeps_the_contract(video):
    films = [film(pictures(hue)) for hue in HUES]
    broken = [films[0][: len(films[0]) // 2], film([], sound=True)]
    check_encoder(video.VideoEncoder("toy_pictures:ToyPicture"), films, broken)
    with pytest.raises(ValueError, match="only sound"):
        video.VideoEncoder("toy_pictures:ToyPicture").load(broken[1])


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 16, 17, 100, 1000])
def test_frames_are_taken_evenly(video, count):
    asked = []

    def frame(number):
        asked.append(number)
        return Image.new("RGB", (4, 4), (number // 256, number % 256, 0))

    kept = video._evenly(lambda n=n: frame(n) for n in range(count))
    numbers = [red * 256 + green for red, green, _ in (one.getpixel((0, 0)) for one in kept)]
    assert len(numbers) == min(count, 8)
    assert len(asked) <= max(count if count < 16 else 0, 16 * (1 + count.bit_length()))
    if count >= 8:
        gaps = np.diff(numbers)
        assert gaps.min() > 0
        assert gaps.max() <= 2 * gaps.min()
        assert numbers[-1] >= 0.75 * (count - 1)


def test_without_pyav_the_reason_says_what_to_install(video, monkeypatch):
    made = film(pictures(0))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match="pip install av"):
        video.VideoEncoder("toy_pictures:ToyPicture").load(made)


def test_a_playlist_opens_no_other_file(video, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(film(pictures(0)))
    for text in ("#EXTM3U\n#EXTINF:1,\nsecret.mp4\n", "ffconcat version 1.0\nfile secret.mp4\n"):
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(ValueError, match="neither GIF"):
            video.VideoEncoder("toy_pictures:ToyPicture").load(tmp_path / "list.mp4")


def test_frames_without_end_are_refused(video, monkeypatch):
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    encoder = video.VideoEncoder("toy_pictures:ToyPicture")
    for raw in (animated(pictures(0)), film(pictures(0))):
        with pytest.raises(ValueError, match="48 x 32 pixels; 1,000 is the limit"):
            encoder.load(raw)


def test_the_fingerprint_is_of_the_picture_encoder_too(video, monkeypatch):
    before = video.VideoEncoder("toy_pictures:ToyPicture").fingerprint
    monkeypatch.setattr(ToyPicture, "fingerprint", "another")
    assert video.VideoEncoder("toy_pictures:ToyPicture").fingerprint != before


def test_from_files_to_recommendations(video, shop, why_broken, capsys, tmp_path):
    def cells(group, number):
        name = f"{group}{number}.gif"
        (tmp_path / name).write_bytes(animated(pictures(HUES[group] + 3 * number, 6 + 5 * number)))
        return ["thing", name]

    (tmp_path / "cut.gif").write_bytes(animated(pictures(0))[:900])
    made = shop(["title", "video"], cells, ["thing", "cut.gif"])
    assert "broken video" in why_broken(made.index(SPEC, "--text", "title"))
    for group in range(3):
        assert {hit[:2] for hit in made.like(f"g{group}n0", capsys)[:3]} == {f"g{group}"}
    assert made.train(SPEC).model.content.present["video"].sum() == 12
