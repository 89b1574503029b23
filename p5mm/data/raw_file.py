"""What is in a table's file: its bytes, unzipped within bounds, and whether they are UTF-8."""

import gzip
import io
import re
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from pathlib import Path

import pyarrow as pa

from p5mm.errors import InputError
from p5mm.memory import memory

FORMS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
ALLOWED = "Parquet, CSV, TSV and JSONL are (text forms also as .gz)"
GZIP = b"\x1f\x8b"
RATIO = 100  # no table of a real shop is zipped to less than this part of its size,
SMALL = 256 << 20  # and up to so many bytes nobody need care
_PIECE = 1 << 24
_LINE_END = re.compile(rb"\r\n|\r|\n")


def read_bytes(path: Path) -> pa.Buffer | bytes:
    """What is in a file or pipe, unzipped; a plain Parquet file is mapped, not read.

    Unzipped it may have 100 times its size (256 MiB in any case), and at most a quarter of the
    machine's memory.

    Raises:
        InputError: It cannot be read, is empty, or unzips to more than that.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file: {ALLOWED} allowed")
    try:
        if path.is_file() and FORMS.get(path.suffix.lower()) == "parquet" and path.stat().st_size:
            return pa.memory_map(str(path)).read_buffer()
        data = path.read_bytes()
        data = _unzipped(data, path) if data[:2] == GZIP else data
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not data[:64].strip() and not data.strip():
        raise InputError(f"{path} is empty; give a table with a header and rows")
    return data


def check_text(data: bytes, path: Path) -> None:
    """Check that bytes are UTF-8.

    Raises:
        InputError: They are not; the message names the line and how to convert.
    """
    if data[:2] == GZIP:
        raise InputError(f"{path} is zipped twice; unzip it once: gunzip {path}")
    encoding = "UTF-16" if data[:2] in (BOM_UTF16_BE, BOM_UTF16_LE) else "LATIN1"
    bad = 0 if encoding == "UTF-16" else _not_utf8(data)
    if bad is not None:
        line = len(_LINE_END.findall(data, 0, bad)) + 1
        raise InputError(
            f"{path} is not UTF-8 (line {line}); convert it, for example: "
            f"iconv -f {encoding} -t UTF-8 {path} > utf8{path.suffix}"
        )


def _not_utf8(data: bytes) -> int | None:
    """About where bytes are no UTF-8 (never behind it in the line), None where all are.

    In pieces: as text a file takes up to four times its size.
    """
    decoder = getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _PIECE):
        kept = len(decoder.getstate()[0])
        try:
            decoder.decode(data[start : start + _PIECE], start + _PIECE >= len(data))
        except UnicodeDecodeError as error:
            return start - kept + error.start
    return None


def _unzipped(data: bytes, path: Path) -> bytes:
    limit = min(max(SMALL, RATIO * len(data)), memory() // 4)
    whole = io.BytesIO()
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while piece := file.read(_PIECE):
            whole.write(piece)
            if whole.tell() > limit:
                raise InputError(
                    f"{path} ({len(data):,} bytes) unzips to more than {limit:,} bytes: {RATIO} "
                    "times its size, or a quarter of the memory, are allowed. If that is right, "
                    "unzip it, or write it as Parquet"
                )
    return whole.getvalue()
