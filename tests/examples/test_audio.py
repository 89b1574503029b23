import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.audio_utils import spectrogram

from p5mm.data.catalog import Catalog
from p5mm.encoders.store import FeatureStore
from p5mm.testing import check_encoder

soundfile = pytest.importorskip("soundfile")
SECONDS = 0.5


def tone(group: int, number: int, rate: int = 16_000) -> np.ndarray:
    """Low hum, high whistle, or noise; a little different each time, and louder."""
    rng = np.random.default_rng([group, number])
    time = np.arange(int(SECONDS * rate)) / rate
    pitch = (220, 3000, 0)[group] * (1 + 0.02 * number)
    wave = np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(4 * np.pi * pitch * time)
    noise = rng.normal(size=len(time))
    return (noise if group == 2 else wave + 0.01 * noise) * (0.05 + 0.03 * number)


def as_file(wave: np.ndarray, form: str = "FLAC", rate: int = 16_000, **how) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format=form, **how)
    return out.getvalue()


def of_unknown_length(flac: bytes) -> bytes:
    """The same with a length of 0 in its header: 36 bits at byte 21."""
    return flac[:21] + bytes([flac[21] & 0xF0, 0, 0, 0, 0]) + flac[26:]


@pytest.fixture(scope="module")
def encoder(example):
    return example("audio").AudioEncoder()


def vector(encoder, raw):
    return encoder.encode([encoder.load(raw)])[0]


def test_it_keeps_the_contract(example, tmp_path):
    module = example("audio")
    flac, wav = as_file(tone(0, 1)), as_file(tone(1, 1), "WAV")
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    check_encoder(
        module.AudioEncoder(),
        samples=[flac, wav, as_file(tone(2, 0)[:300])],
        broken=[flac[: len(flac) // 2], wav[:-2], b"", b"no sound", text, tmp_path, 7],
        again=module.AudioEncoder,
    )


def test_the_mel_spectrogram_is_that_of_transformers(encoder):
    wave = tone(0, 1).astype(np.float32)
    expected = spectrogram(
        wave / np.abs(wave).max(), np.hanning(1024), 1024, 256, power=2.0, center=False,
        mel_filters=encoder._bands, dtype=np.float64,
    )  # fmt: skip
    expected = 10 * np.log10(expected / expected.max()).T
    made = encoder.load(as_file(wave, "WAV", subtype="FLOAT"))
    np.testing.assert_allclose(made, np.maximum(expected, -80), atol=1e-2)


def test_neither_loudness_nor_form_nor_rate_nor_channels_count(encoder):
    wave = tone(0, 2)
    first = vector(encoder, as_file(wave))
    both = np.stack([wave, wave], axis=1)
    others = [
        as_file(wave / 3, "WAV", subtype="FLOAT"),
        as_file(wave, "WAV", subtype="PCM_24"),
        as_file(both),
    ]
    for other in others:
        assert vector(encoder, other) @ first > 0.99
    whistle = tone(1, 0, 44_100)
    same = vector(encoder, as_file(whistle, rate=44_100))
    assert vector(encoder, as_file(tone(1, 0))) @ same > 0.95 > first @ same


@settings(max_examples=60)
@given(share=st.floats(0, 0.999))
def test_every_cut_file_is_refused(encoder, share):
    for whole in (as_file(tone(0, 1)), as_file(tone(0, 1), "WAV")):
        with pytest.raises(ValueError, match=r"cut|no whole|empty|neither|silence"):
            encoder.load(whole[: int(share * len(whole))])


def test_what_is_refused_says_why(encoder):
    wave = tone(0, 0)
    for raw, why in [
        (as_file(np.zeros(8000)), "silence"),
        (as_file(np.full(8000, 0.5)), "silence"),
        (of_unknown_length(as_file(wave)), "does not say how long it is"),
        (as_file(np.where(wave > 0.04, np.nan, wave), "WAV", subtype="FLOAT"), "no finite number"),
        (as_file(wave, "AIFF"), "neither WAV nor FLAC, but AIFF"),
        (as_file(wave, "WAV", rate=1_000), "1 channels of 1,000 samples a second"),
    ]:
        with pytest.raises(ValueError, match=why):
            encoder.load(raw)


def test_a_long_file_is_heard_for_a_minute(encoder):
    hum, whistle = (np.tile(tone(group, 1), 130) for group in (0, 1))  # 65 seconds each
    long = encoder.load(as_file(np.concatenate([hum, whistle])))
    assert len(long) == 1 + (60 * 16_000 - 1024) // 256
    np.testing.assert_allclose(long, encoder.load(as_file(hum)), atol=1e-3)


def test_from_files_to_recommendations(example, shop, why_broken, capsys, tmp_path):
    example("audio")

    def cells(group, number):
        name = f"sounds/{group}{number}.{'wav' if number % 2 else 'flac'}"
        (tmp_path / "sounds").mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(as_file(tone(group, number), name.rpartition(".")[2].upper()))
        return [f"thing {number}", name]

    (tmp_path / "cut.flac").write_bytes(as_file(tone(0, 0))[:900])
    made = shop(["title", "clip"], cells, ["thing", "cut.flac"])
    spec, words = "audio:AudioEncoder:clip", ["--text", "title"]
    assert "no whole WAV or FLAC" in why_broken(made.index(spec, *words))
    for group in range(3):
        assert {hit[:2] for hit in made.like(f"g{group}n0", capsys)[:3]} == {f"g{group}"}
    assert "0 changed, 0 removed, 13 untouched" in made.again(spec, *words, capsys=capsys)
    (tmp_path / "sounds" / "01.wav").write_bytes(as_file(tone(1, 1), "WAV"))
    assert "1 changed, 0 removed, 12 untouched" in made.again(spec, *words, capsys=capsys)
    assert made.like("g0n1", capsys)[0][:2] == "g1"
    model = made.train(spec, "--data.text", "[title]")
    assert model.model.content.present["audio"].sum() == 12
    (tmp_path / "new.flac").write_bytes(as_file(tone(2, 9)))
    made.write("new.csv", ["item_id", "title", "clip"], [["new", "thing", "new.flac"]])
    new = Catalog.read(tmp_path / "new.csv", text=["title"])
    grown = model.add_items(new, FeatureStore(tmp_path / "store"), trust=[spec])
    assert {hit[:2] for hit in grown.similar_items(["new"], k=3)["item_id"].to_pylist()} == {"g2"}


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
@settings(max_examples=60)
@given(data=st.data())
def test_what_is_mutated_gives_a_vector_or_a_reason(encoder, form, data):
    whole = bytearray(as_file(tone(0, 1)[:2000], form))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        assert np.isfinite(vector(encoder, bytes(whole))).all()
