"""Mutated files: whole pictures, tables and shards of embedded data, and what is done to them."""

import gzip
import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

from p5mm.demo.stickers import draw_pictures, stickers

ITEMS = 12
BOMB = 50 << 20  # bytes of zeros that a chunk unzips to
HUGE = (2**16 - 1, 2**20, 2**31 - 1)  # sides that a header may declare
PICTURES = ("png", "jpg", "gif", "webp", "bmp", "tif", "avif", "jp2", "ico", "ppm")
Whole = dict[str, bytes]


def whole_files(folder: Path) -> Whole:
    """Whole files by their names: pictures of all forms, tables of all forms, a shard."""
    items = stickers(ITEMS)
    draw_pictures(folder, items)
    drawn = [path.read_bytes() for path in sorted((folder / "pictures").iterdir())]
    files = dict(_pictures(drawn))
    names = [item.name for item in items]
    rows = [
        {"item_id": f"i{n}", "name": name, "price": n / 4, "tags": ["a", name], "v": [n / 3, 1.0]}
        for n, name in enumerate(names)
    ]
    table = pa.Table.from_pylist(rows)
    flat = table.select(["item_id", "name", "price"])
    for name, form in (("a.csv", ","), ("a.tsv", "\t")):
        sink = io.BytesIO()
        options = pyarrow.csv.WriteOptions(delimiter=form, quoting_style="needed")
        pyarrow.csv.write_csv(flat, sink, options)
        files[name] = sink.getvalue()
    files["a.jsonl"] = "\n".join(map(json.dumps, rows)).encode()
    files["a.csv.gz"] = gzip.compress(files["a.csv"])
    coded = table.append_column("image", pa.array(drawn[:ITEMS], pa.binary()))
    for name, given, packing in (("a.parquet", table, "snappy"), ("b.parquet", coded, "zstd")):
        sink = io.BytesIO()
        pq.write_table(given, sink, compression=packing)
        files[name] = sink.getvalue()
    files["a.tar"] = _shard(drawn, rows)
    return files


def _pictures(drawn: list[bytes]) -> list[tuple[str, bytes]]:
    made = []
    options = {"jpg": {"progressive": True}, "tif": {"compression": "tiff_lzw"}}
    for number, suffix in enumerate(PICTURES):
        picture = Image.open(io.BytesIO(drawn[number % len(drawn)])).convert("RGB")
        for variant in range(2):
            sink = io.BytesIO()
            given = options.get(suffix, {}) if variant else {}
            form = Image.registered_extensions()[f".{suffix}"]
            picture.resize((96 + variant, 64)).save(sink, form, **given)
            made.append((f"{variant}.{suffix}", sink.getvalue()))
    for name, mode in (("2.png", "I;16"), ("3.png", "P"), ("2.jpg", "CMYK"), ("2.tif", "F")):
        grey = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
        sink = io.BytesIO()
        picture = grey if mode == "I;16" else grey.convert("L").convert(mode)
        picture.save(sink, Image.registered_extensions()[Path(name).suffix])
        made.append((name, sink.getvalue()))
    return made


def _shard(drawn: list[bytes], rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for picture, row in zip(drawn, rows, strict=False):
            for suffix, data in (("png", picture), ("json", json.dumps(row).encode()),
                                 ("txt", str(row["name"]).encode())):  # fmt: skip
                info = tarfile.TarInfo(f"ä{row['item_id']}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def mutated(whole: Whole, number: int) -> tuple[str, str, bytes]:
    """Name, kind of mutation and bytes of a mutated file; the same for a number whenever asked."""
    luck = random.Random(number)
    pictures = luck.random() < 0.5
    files = [name for name in sorted(whole) if (Path(name).suffix[1:] in PICTURES) == pictures]
    name = luck.choice(files)
    kinds = [_flipped, _flipped, _cut, _spliced, _numbers, _renamed]
    if Path(name).suffix[1:] in PICTURES:
        kinds += [_giant, _giant, _bomb]
    elif name.endswith(".gz"):
        kinds += [_zipped_bomb]
    kind = luck.choice(kinds)
    if kind is _renamed:
        other = luck.choice(sorted(whole))
        return other, "another suffix", whole[name]
    return name, _TOLD[kind], kind(luck, name, whole[name])


def _flipped(luck: random.Random, name: str, data: bytes) -> bytes:
    """Some bytes are others; half of the time near the beginning, where headers are."""
    made = bytearray(data)
    reach = len(made) if luck.random() < 0.5 else min(len(made), 200)
    for _ in range(luck.choice([1, 2, 8, 40])):
        made[luck.randrange(reach)] = luck.randrange(256)
    return bytes(made)


def _cut(luck: random.Random, name: str, data: bytes) -> bytes:
    return data[: luck.randrange(len(data))]


def _spliced(luck: random.Random, name: str, data: bytes) -> bytes:
    """A piece is put in somewhere else: of itself, zeros, quotes, line ends or brackets."""
    begin, place = luck.randrange(len(data)), luck.randrange(len(data))
    own = data[begin : begin + luck.randrange(1, 5000)]
    piece = luck.choice(
        [own, bytes(luck.randrange(1, 600)), b'"', b"\n", b'[{"' * 500, b"\xff\xfe"]
    )
    return data[:place] + piece + data[place:]


def _numbers(luck: random.Random, name: str, data: bytes) -> bytes:
    """Four bytes somewhere are the largest number, or the least."""
    made = bytearray(data)
    for _ in range(luck.choice([1, 3])):
        place = luck.randrange(max(1, min(len(made), 4000) - 4))
        made[place : place + 4] = luck.choice(
            [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
        )
    return bytes(made)


def _renamed(luck: random.Random, name: str, data: bytes) -> bytes:
    return data


def _giant(luck: random.Random, name: str, data: bytes) -> bytes:
    """The header declares giant sides; checksums are right."""
    width, height = luck.choice(HUGE), luck.choice(HUGE)
    made = bytearray(data)
    if data.startswith(b"\x89PNG"):
        return (
            data[:8] + _chunk(b"IHDR", struct.pack(">II", width, height) + data[24:29]) + data[33:]
        )
    if data.startswith(b"\xff\xd8"):
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            if (place := made.find(marker)) >= 0:
                made[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    elif data.startswith(b"GIF"):
        made[6:10] = b"\xff\xff\xff\xff"
    elif data.startswith(b"BM"):
        made[18:26] = struct.pack("<ii", width, luck.choice([1, -1]) * height)
    elif data.startswith(b"P6"):
        return b"P6\n%d %d\n255\n" % (width, height) + data[20:]
    elif data.startswith(b"II*\0"):
        made = bytearray(_giant_tiff(made, width, height))
    else:  # WebP, AVIF, JPEG 2000, ICO: wherever the sides stand
        for side in (64, 96, 97):
            for form in (">I", "<I", ">H", "<H"):
                wanted = struct.pack(form, side)
                giant = struct.pack(form, min(width, 2 ** (8 * len(wanted)) - 1))
                made = made.replace(wanted, giant) if luck.random() < 0.5 else made
    return bytes(made)


def _giant_tiff(data: bytearray, width: int, height: int) -> bytes:
    place = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, place)[0]):
        at = place + 2 + 12 * entry
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in (256, 257, 278):  # width, length, rows of a strip
            struct.pack_into("<HHII", data, at, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


def _bomb(luck: random.Random, name: str, data: bytes) -> bytes:
    """A PNG with chunks that unzip to much more than they are."""
    if not data.startswith(b"\x89PNG"):
        return data + bytes(luck.randrange(1 << 20))
    zipped = zlib.compress(bytes(BOMB), 9)
    chunks = [
        _chunk(b"zTXt", b"a\0\0" + zipped),
        _chunk(b"iTXt", b"a\0\1\0\0\0" + zipped),
        _chunk(b"iCCP", b"a\0\0" + zipped),
        _chunk(b"IDAT", zipped),
        _chunk(b"tEXt", b"a\0" + bytes(1 << 20)) * 70,
        b"".join(
            _chunk(b"zTXt", b"a%d\0\0" % n + zlib.compress(bytes(1 << 19))) for n in range(300)
        ),
    ]
    return data[:33] + luck.choice(chunks) + data[33:]


def _zipped_bomb(luck: random.Random, name: str, data: bytes) -> bytes:
    """A table of 300 MB in some kilobytes."""
    line = luck.choice([b"a", b"\n", b'"', b"a,b\n"])
    packed, piece = io.BytesIO(), line * ((1 << 20) // len(line))
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        file.write(b"item_id,name\n")
        for _ in range(300):
            file.write(piece)
    return packed.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_TOLD: dict[Callable[..., bytes], str] = {
    _flipped: "bytes flipped", _cut: "cut", _spliced: "spliced", _numbers: "extreme numbers",
    _giant: "giant sides", _bomb: "bombs", _zipped_bomb: "bombs",
}  # fmt: skip
