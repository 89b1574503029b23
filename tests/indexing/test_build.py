"""An index that is made again keeps what is worth keeping."""

import logging

import numpy as np
import pyarrow as pa
import pytest

from p5mm.commands.main import main
from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features, encoders
from p5mm.errors import InputError
from p5mm.indexing.build import build_index
from p5mm.indexing.catalog_index import CatalogIndex

BOTH = EncoderConfig(image="noise", text="noise", workers=0)


class Noise:
    """A vector for each name; pictures and texts of one name are alike."""

    dim, one_thread = 6, True
    fingerprint = "noise 1"

    def load(self, raw):
        name = raw.decode() if isinstance(raw, bytes) else raw
        if name.startswith("broken"):
            raise ValueError("broken")
        return np.random.default_rng(int(name)).normal(size=6)

    def encode(self, batch):
        return np.asarray(batch, dtype=np.float32).reshape(-1, 6)


@pytest.fixture(autouse=True)
def fake_encoders(tmp_path, monkeypatch):
    monkeypatch.setenv("P5MM_CACHE", str(tmp_path / "cache"))
    made = {f"noise.{side}": type(side, (Noise,), {"modality": side}) for side in ("image", "text")}
    other = {"other.text": type("other", (Noise,), {"modality": "text", "fingerprint": "other"})}
    monkeypatch.setattr(encoders, "_modules", ())
    monkeypatch.setattr(encoders, "_factories", made | other)


def catalog(n, broken=0):
    names = [f"broken {i}" if i < broken else str(i) for i in range(n)]
    table = pa.table(
        {
            "item_id": [f"item{i}" for i in range(n)],
            "name": names,
            "image": pa.array([name.encode() for name in names], pa.binary()),
        }
    )
    return Catalog.from_table(table)


def test_an_index_made_again_keeps_its_alignment(tmp_path, caplog):
    build_index(catalog(80), tmp_path / "i", BOTH, align=True)
    before = CatalogIndex.load(tmp_path / "i").alignment
    with caplog.at_level(logging.INFO):
        build_index(catalog(82), tmp_path / "i", BOTH)
    again = CatalogIndex.load(tmp_path / "i")
    assert set(again.views) == {"image", "text", "joint"}
    assert len(again.views["joint"]) == 82
    vectors = again.features["text"].vectors
    np.testing.assert_array_equal(
        again.alignment.project("text", vectors), before.project("text", vectors)
    )
    assert "the alignment is kept" in caplog.text
    assert "trains the alignment anew" not in caplog.text


def test_many_new_pairs_ask_for_a_new_alignment(tmp_path, caplog):
    build_index(catalog(80), tmp_path / "i", BOTH, align=True)
    build_index(catalog(120), tmp_path / "i", BOTH)
    assert "120 pairs now, and 80 when it was aligned" in caplog.text
    assert "joint" in CatalogIndex.load(tmp_path / "i").views


def test_an_alignment_of_other_encoders_is_left_out_with_a_word(tmp_path, caplog):
    build_index(catalog(80), tmp_path / "i", BOTH, align=True)
    build_index(catalog(80), tmp_path / "i", EncoderConfig(image="noise", text="other", workers=0))
    assert "of other encoders and is left out" in caplog.text
    assert CatalogIndex.load(tmp_path / "i").alignment is None


def test_too_few_pairs_are_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("p5mm.indexing.build.catalog_encoders", None)  # nobody gets that far
    with pytest.raises(InputError, match=r"needs 50 items .* 49 of the catalog's 49 have both"):
        build_index(catalog(49), tmp_path / "i", BOTH, align=True)
    assert not (tmp_path / "i").exists()


def test_what_was_made_is_kept_where_aligning_fails(tmp_path):
    with pytest.raises(InputError, match="is made, but not aligned: only 40 items"):
        build_index(catalog(60, broken=20), tmp_path / "i", BOTH, align=True)
    assert len(CatalogIndex.load(tmp_path / "i").views["image"]) == 40


def test_a_misspelt_encoder_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("p5mm.indexing.encode.encode_items", None)  # nobody gets that far
    with pytest.raises(InputError, match="unknown encoder 'noize'"):
        build_index(catalog(60), tmp_path / "i", EncoderConfig(image="noise", text="noize"))


def test_a_broken_index_is_replaced_with_a_word(tmp_path, caplog):
    build_index(catalog(80), tmp_path / "i", BOTH, align=True)
    (tmp_path / "i" / "alignment.safetensors").write_bytes(b"broken")
    build_index(catalog(80), tmp_path / "i", BOTH)
    assert "the index that was there is made anew, without its alignment" in caplog.text
    assert CatalogIndex.load(tmp_path / "i").alignment is None


def test_a_thesis_is_replaced_by_force_alone(tmp_path):
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="nothing was written"):
        build_index(catalog(3), tmp_path / "i", BOTH)
    assert (tmp_path / "i" / "thesis.txt").read_text() == "years"
    build_index(catalog(3), tmp_path / "i", BOTH, force=True)
    assert len(CatalogIndex.load(tmp_path / "i").catalog) == 3


def test_an_index_says_what_its_texts_are_made_of(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        build_index(catalog(3), tmp_path / "i", BOTH)
    assert "text is made of: name" in caplog.text


PLANTED = """
from pathlib import Path
Path({mark!r}).write_text("ran")

class Words:
    modality, dim, fingerprint, one_thread = "text", 6, "words 1", True
    def load(self, raw): return raw
    def encode(self, batch):
        import numpy as np
        return np.ones((len(batch), 6), np.float32)
"""


def test_an_index_from_a_stranger_imports_nothing_unless_it_is_trusted(tmp_path, monkeypatch):
    """It names a module that lies in the current folder."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    (tmp_path / "planted_words.py").write_text(PLANTED.format(mark=str(mark)))
    spec = "planted_words:Words"
    vectors, there = np.ones((2, 6), np.float32), np.ones(2, bool)
    features = Features("text", spec, "words 1", vectors, there)
    table = pa.table({"item_id": ["a", "b"], "name": ["x", "y"]})
    CatalogIndex.build(Catalog(table, ("name",)), [features]).save(tmp_path / "i")
    with pytest.raises(InputError, match="--trust planted_words:Words"):
        CatalogIndex.load(tmp_path / "i").search_text("x")
    assert main(["search", str(tmp_path / "i"), "--text", "x"]) == 2
    assert not mark.exists()
    assert [hit.item_id for hit in CatalogIndex.load(tmp_path / "i").search_item("a")] == ["b"]
    assert main(["search", str(tmp_path / "i"), "--text", "x", "--trust", spec]) == 0
    assert mark.exists()
