"""Sounds as a modality: statistics of the log-mel spectrogram of WAV and FLAC files.

From this folder, for a catalog whose column ``audio`` names files (``pip install soundfile``):
``p5mm index ../shop/catalog.csv --encoder audio:AudioEncoder --out ../sounds``. Another column is
an argument: ``audio:AudioEncoder:clip``.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly
from transformers.audio_utils import mel_filter_bank

FORMATS = {"WAV", "WAVEX", "RF64", "FLAC"}
RATE = 16_000  # samples a second, to which every sound is brought
RATES = range(4_000, 192_001)
CHANNELS = 32
SECONDS = 60  # of the beginning are heard
WINDOW, HOP = 1024, 256  # samples: 64 ms, every 16 ms
BANDS = 64
DEPTH = 80.0  # dB below the loudest place count as silence
ENDLESS = 2**40  # samples: what libsndfile says of a FLAC that does not tell
UNTOLD = 0x7FFF0000  # a WAV of this length or more was written as a stream: nobody knew the end


class AudioEncoder:
    """The mean spectrum of a sound, and how much each band of it moves; loudness does not count.

    Args:
        column: The catalog's column of paths, or of the bytes of files.
    """

    modality = "audio"
    dim = 2 * BANDS
    fingerprint = "log-mel 64 bands, 16 kHz, mean and deviation, version 1"
    reads_files = True

    def __init__(self, column: str = "audio") -> None:
        self.source = column
        # Mel as in the HTK book: 2595 log10(1 + f / 700).
        self._bands = mel_filter_bank(WINDOW // 2 + 1, BANDS, 60.0, RATE / 2, RATE).astype("f4")

    def load(self, raw: Path | bytes) -> NDArray[np.float32]:
        """The log-mel spectrogram ``[frames, bands]``, in dB below the sound's own peak.

        Raises:
            ValueError: No whole WAV or FLAC, silence, or values that are no finite numbers.
        """
        if not isinstance(raw, Path | bytes):
            raise ValueError(f"a sound is a path or bytes, not {type(raw).__name__}")
        try:
            with raw.open("rb") if isinstance(raw, Path) else io.BytesIO(raw) as file:
                wave = _read(file)
        except OSError as error:
            raise ValueError(f"cannot read the file: {error.strerror or error}") from error
        wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
        frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
        power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype("f4"))) ** 2
        mel = power @ self._bands
        peak = float(mel.max())
        if not peak > 0:
            raise ValueError(f"silence between 60 and {RATE // 2:,} Hz")
        return np.asarray(np.maximum(10 * np.log10(mel / peak + 1e-20), -DEPTH), np.float32)

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Mean over time (around its own mean) and deviation of each band, at unit length."""
        means = np.array([mel.mean(0) for mel in batch], np.float32).reshape(-1, BANDS)
        moves = np.array([mel.std(0) for mel in batch], np.float32).reshape(-1, BANDS)
        vectors = np.hstack([means - means.mean(1, keepdims=True), moves])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


def _read(file: BinaryIO) -> NDArray[np.float32]:
    """One channel at `RATE`, its loudest sample 1.

    Raises:
        ValueError: As `AudioEncoder.load`.
    """
    _refuse_cut_wav(file)
    try:
        with soundfile.SoundFile(file) as sound, np.errstate(over="ignore", invalid="ignore"):
            _refuse_odd(sound)
            wave = _mono(sound)
            rate = int(sound.samplerate)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix("Error : ")
        raise ValueError(f"no whole WAV or FLAC: {reason}") from error
    if not np.isfinite(wave).all():
        raise ValueError("a sample is no finite number")
    wave = wave - (wave.mean() if len(wave) else 0)  # a constant is no sound
    peak = np.abs(wave).max(initial=0.0)
    if peak < 1e-6:
        raise ValueError(f"silence: no sound in its first {SECONDS} seconds")
    shared = math.gcd(RATE, rate)
    return np.asarray(resample_poly(wave / peak, RATE // shared, rate // shared), np.float32)


def _mono(sound: soundfile.SoundFile) -> NDArray[np.float32]:
    """The mean of the channels, second by second, so that no long file fills the memory."""
    rate, expected = sound.samplerate, min(sound.frames, SECONDS * sound.samplerate)
    blocks = sound.blocks(rate, frames=expected, dtype="float32", always_2d=True)
    wave = np.concatenate([np.zeros(0, np.float32), *(block.mean(1) for block in blocks)])
    if len(wave) < expected:
        raise ValueError(f"cut: it ends after {len(wave):,} of {sound.frames:,} samples")
    return wave


def _refuse_odd(sound: soundfile.SoundFile) -> None:
    if sound.format not in FORMATS:
        raise ValueError(f"neither WAV nor FLAC, but {sound.format}")
    if sound.frames > ENDLESS:
        raise ValueError("a stream that does not say how long it is; write it as a file")
    if sound.samplerate not in RATES or sound.channels > CHANNELS:
        raise ValueError(
            f"{sound.channels} channels of {sound.samplerate:,} samples a second; up to "
            f"{CHANNELS} of {RATES[0]:,} to {RATES[-1]:,} are read"
        )


def _refuse_cut_wav(file: BinaryIO) -> None:
    """A WAV says how long it is; libsndfile reads a shorter one without a word."""
    head, size = file.read(8), file.seek(0, io.SEEK_END)
    file.seek(0)
    told = int.from_bytes(head[4:8], "little") + 8
    if not size:
        raise ValueError("empty file (0 bytes)")
    if head[:4] == b"RIFF" and size < told < UNTOLD:
        raise ValueError(f"cut: {size:,} of its {told:,} bytes are there")
