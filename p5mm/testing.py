"""The conformance kit: one line tells whether a stranger's encoder keeps the contract."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.base import Encoder
from p5mm.encoders.encode import as_files, encode_items


class ConformanceError(AssertionError):
    """An encoder breaks the contract; the message says which part of it."""


def check_encoder(
    encoder: Encoder,
    samples: Sequence[Any],
    broken: Sequence[Any] = (),
    *,
    again: Callable[[], Encoder] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Checks an encoder against the contract of `p5mm.encoders.base.Encoder`.

    Args:
        encoder: The encoder.
        samples: At least two different raw values that it must load; with ``reads_files`` a text
            is the path of a file.
        broken: Raw values that ``load`` must refuse with a ValueError.
        again: Makes the encoder anew; its fingerprint must be the same.
        tolerance: Largest difference between a vector alone and in a batch, relative to length.

    Raises:
        ConformanceError: What is broken, and how.

    Example:
        >>> from p5mm.encoders.vector import VectorColumn
        >>> check_encoder(VectorColumn("sound"), [[0.0, 1.0], [2.0, 3.0]], broken=["noise"])
    """
    _require(len(samples) >= 2, "give at least two samples")
    for name in ("modality", "dim", "fingerprint", "load", "encode"):
        _require(hasattr(encoder, name), f"it has no '{name}'")
    samples, broken = _raws(encoder, samples), _raws(encoder, broken)
    if hasattr(encoder, "prepare"):
        encoder.prepare(samples)
    _check_identity(encoder)
    vectors = _check_vectors(encoder, samples, tolerance)
    _check_refusals(encoder, broken)
    _check_run(encoder, samples, broken, vectors, tolerance)
    if again is not None:
        _require(
            again().fingerprint == encoder.fingerprint, "the fingerprint differs when made again"
        )


def _raws(encoder: Encoder, raws: Sequence[Any]) -> Sequence[Any]:
    """The values as the encoder gets them in a run."""
    if getattr(encoder, "reads_files", False):
        return as_files(raws)
    named = [raw for raw in raws if isinstance(raw, str) and os.path.isfile(raw)]
    _require(
        not named,
        f"{named[:1]} names a file; an encoder that opens files by their names must say "
        "reads_files = True, or the store keeps a vector when its file has changed",
    )
    return raws


def _check_identity(encoder: Encoder) -> None:
    for name, kind in (("modality", str), ("fingerprint", str), ("dim", int)):
        value = getattr(encoder, name)
        _require(isinstance(value, kind) and bool(value), f"{name} is {value!r}")
    _require(encoder.dim > 0, f"dim is {encoder.dim}")
    _require(encoder.fingerprint == encoder.fingerprint, "the fingerprint changes when read again")


def _check_vectors(
    encoder: Encoder, samples: Sequence[Any], tolerance: float
) -> NDArray[np.float32]:
    def encode(raws: Sequence[Any]) -> NDArray[np.float32]:
        return encoder.encode([encoder.load(raw) for raw in raws])

    vectors = encode(samples)
    _require(isinstance(vectors, np.ndarray), f"encode gives a {type(vectors).__name__}, no array")
    _require(vectors.dtype == np.float32, f"encode gives {vectors.dtype}, not float32")
    expected = (len(samples), encoder.dim)
    _require(vectors.shape == expected, f"encode gives shape {vectors.shape}, not {expected}")
    _require(bool(np.isfinite(vectors).all()), "encode gives NaN or infinity")
    _require(encoder.encode([]).shape == (0, encoder.dim), "an empty batch must give [0, dim]")
    _same(encode(samples), vectors, tolerance, "the same batch twice gives other vectors")
    singles = np.concatenate([encode([raw]) for raw in samples])
    _same(singles, vectors, tolerance, "a value alone gives another vector than in a batch")
    turned = encode(list(samples)[::-1])[::-1]
    _same(turned, vectors, tolerance, "vectors do not follow the order of the batch")
    return vectors


def _check_refusals(encoder: Encoder, broken: Sequence[Any]) -> None:
    for raw in broken:
        try:
            encoder.load(raw)
        except ValueError as error:
            _require(bool(str(error)), f"load refuses {raw!r:.60} without a reason")
        except Exception as error:
            raise ConformanceError(
                f"load raises {type(error).__name__} for {raw!r:.60}; it must be a ValueError"
            ) from error
        else:
            raise ConformanceError(f"load accepts the broken value {raw!r:.60}")


def _check_run(
    encoder: Encoder,
    samples: Sequence[Any],
    broken: Sequence[Any],
    vectors: NDArray[np.float32],
    tolerance: float,
) -> None:
    raws = [*samples, None, *broken]
    features = encode_items(encoder, "checked", raws, batch_size=2, workers=_workers(encoder))
    _same(features.vectors[: len(samples)], vectors, tolerance, "threads change vectors")
    rows = [value.row for value in features.quarantine]
    expected = list(range(len(samples) + 1, len(raws)))
    _require(rows == expected, f"quarantine holds the rows {rows}, not {expected}")


def _workers(encoder: Encoder) -> int:
    return 0 if getattr(encoder, "one_thread", False) else 2


def _same(
    given: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float, message: str
) -> None:
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-12)
    worst = float(np.abs(given - expected).max(initial=0.0)) / scale
    _require(worst <= tolerance, f"{message} (by {worst:.1e} of the largest value)")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(f"not a conforming encoder: {message}")
