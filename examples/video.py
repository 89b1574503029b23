"""Videos as a modality: frames through any picture encoder, and their mean.

From this folder, for a catalog whose column ``video`` names files:
``p5mm index ../shop/catalog.csv --encoder video:VideoEncoder:embedded --out ../videos``. The
argument is the spec of the picture encoder. Animated GIF and WebP need nothing else; MP4, MOV,
WebM, Matroska and AVI need PyAV (``pip install av``).
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from p5mm.encoders.build import make_encoder
from p5mm.encoders.picture import MAX_PIXELS, to_rgb

FRAMES = 8  # of a video are looked at, evenly over its length
READ = 20_000  # frames are read at most: eleven minutes at thirty a second
WHOLE = 0.9  # of the frames that a file tells of; an edit may leave out some
SIDE = 512  # pixels of a frame at most
BATCH = 32  # frames that the picture encoder gets at once

# How containers begin. Only these demuxers of FFmpeg are tried: a playlist would open other files.
CONTAINERS = {"mov": (4, b"ftyp"), "matroska": (0, b"\x1a\x45\xdf\xa3"), "avi": (8, b"AVI ")}
Frame = Callable[[], Image.Image]


class VideoEncoder:
    """The mean of the vectors of a video's frames, at unit length.

    Args:
        spec: The picture encoder; see docs/encoders.md.
    """

    modality = "video"
    reads_files = True

    def __init__(self, spec: str = "embedded") -> None:
        self._picture = make_encoder(spec, "image")
        self.dim = self._picture.dim
        self.fingerprint = f"mean of {FRAMES} frames, version 1, of {self._picture.fingerprint}"

    def load(self, raw: Path | bytes) -> list[Any]:
        """Up to `FRAMES` frames, as the picture encoder loads them.

        Raises:
            ValueError: No video of a known form, or none that can be decoded.
        """
        if not isinstance(raw, Path | bytes):
            raise ValueError(f"a video is a path or bytes, not {type(raw).__name__}")
        try:
            with raw.open("rb") if isinstance(raw, Path) else io.BytesIO(raw) as file:
                frames = _evenly(_frames(file))
        except ValueError:
            raise
        except Exception as error:  # any decoder may fail in any way on a stranger's bytes
            raise ValueError(f"broken video: {str(error) or type(error).__name__}") from error
        if not frames:
            raise ValueError("there is no frame in it")
        return [self._picture.load(_as_bytes(frame)) for frame in frames]

    def encode(self, batch: Sequence[list[Any]]) -> NDArray[np.float32]:
        """One vector a video: the mean of its frames' vectors, at unit length."""
        frames = [frame for video in batch for frame in video]
        parts = [frames[at : at + BATCH] for at in range(0, len(frames), BATCH)]
        vectors = np.concatenate([self._picture.encode(part) for part in parts or [[]]])
        ends = np.cumsum([0, *map(len, batch)])
        means = [vectors[a:b].mean(0) for a, b in pairwise(ends)]
        mean = np.array(means, np.float32).reshape(-1, self.dim)
        norms = np.linalg.norm(mean, axis=1, keepdims=True)
        return np.asarray(mean / np.maximum(norms, 1e-12), np.float32)


def _evenly(frames: Iterable[Frame]) -> list[Image.Image]:
    """At most `FRAMES` small frames at even distances, in one pass of unknown length.

    Every ``step``-th is kept; whenever twice too many are there, every second goes.
    """
    kept: list[Image.Image] = []
    step = 1
    for number, frame in enumerate(islice(frames, READ)):
        if number % step == 0:
            kept.append(_small(frame()))
        if len(kept) == 2 * FRAMES:
            kept, step = kept[::2], 2 * step
    places = np.linspace(0, len(kept) - 1, min(len(kept), FRAMES)).round().astype(int)
    return [kept[place] for place in places]


def _small(picture: Image.Image) -> Image.Image:
    picture = to_rgb(picture).copy()
    picture.thumbnail((SIDE, SIDE))
    return picture


def _as_bytes(picture: Image.Image) -> bytes:
    """A picture as an encoder takes it: the bytes of a file."""
    out = io.BytesIO()
    picture.save(out, "BMP")
    return out.getvalue()


def _frames(file: BinaryIO) -> Iterator[Frame]:
    head = file.read(12)
    file.seek(0)
    if not head:
        raise ValueError("empty file (0 bytes)")
    for form, (place, sign) in CONTAINERS.items():
        if head[place:].startswith(sign):
            return _container_frames(file, form)
    return _picture_frames(file)


def _picture_frames(file: BinaryIO) -> Iterator[Frame]:
    """The frames of an animated picture, by Pillow."""
    try:
        picture = Image.open(file, formats=("GIF", "WEBP"))
    except UnidentifiedImageError:
        raise ValueError("neither GIF, WebP, MP4, MOV, WebM, Matroska nor AVI") from None
    with picture:
        _refuse_bombs(picture.width, picture.height)
        for frame in ImageSequence.Iterator(picture):
            yield partial(to_rgb, frame)


def _container_frames(file: BinaryIO, form: str) -> Iterator[Frame]:
    """The frames of the first video stream, by FFmpeg."""
    try:
        import av
    except ImportError:
        raise ValueError("this form is read by PyAV, which is missing: pip install av") from None
    try:
        with av.open(file, "r", format=form, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise ValueError("there is no picture in it, only sound")
            stream = container.streams.video[0]
            _refuse_bombs(stream.width, stream.height)
            read = 0
            for frame in container.decode(stream):
                read += 1
                yield frame.to_image
            if read < WHOLE * stream.frames - 1:  # 0 where the form does not tell (Matroska, WebM)
                raise ValueError(f"cut: {read:,} of its {stream.frames:,} frames are there")
    except av.FFmpegError as error:
        raise ValueError(f"broken video: {error.strerror}") from error


def _refuse_bombs(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"frames of {width} x {height} pixels; {MAX_PIXELS:,} is the limit")
