import sys

import numpy as np
import pyarrow as pa
import pytest

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.errors import InputError
from p5mm.indexing.encode import encode_catalog

NOTHING = {"image": "none", "text": "none"}


class Sound:
    """The length of the file that the column "sound" names."""

    modality, source, dim, fingerprint, reads_files = "sound", "sound", 1, "sound", True

    def load(self, raw):
        return len(raw.read_bytes())

    def encode(self, batch):
        return np.array(batch, dtype=np.float32).reshape(-1, 1)


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """These classes, named as a user names his: ``sounds:Sound``."""
    made = type(sys)("sounds")
    made.Sound = Sound
    monkeypatch.setitem(sys.modules, "sounds", made)


def catalog_of(names, folder=None):
    rows = [{"item_id": str(i), "sound": name} for i, name in enumerate(names)]
    catalog = Catalog.from_table(pa.Table.from_pylist(rows), text=["sound"])
    if folder is not None:
        object.__setattr__(catalog, "images", folder)
    return catalog


def encode(catalog, store=None, spec="sounds:Sound", **keywords):
    return encode_catalog(catalog, EncoderConfig(others=(spec,), **NOTHING), store, **keywords)[0]


def test_a_column_of_file_names_is_keyed_by_content(store, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"12")
    catalog = catalog_of(["a.wav", None], tmp_path)
    assert encode(catalog, store).vectors.tolist() == [[2], [0]]
    (tmp_path / "a.wav").write_bytes(b"12345")
    assert encode(catalog, store).vectors.tolist() == [[5], [0]]


def test_names_are_below_the_folder_and_never_lead_out_of_it(store, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.wav").write_bytes(b"12")
    (tmp_path / "secret").write_bytes(b"123")
    (inside / "link").symlink_to(tmp_path / "secret")
    names = ["../secret", "a.wav", str(tmp_path / "secret"), "link", "none.wav", None]
    features = encode(catalog_of(names, inside), store)
    assert features.present.tolist() == [False, True, False, False, False, False]
    assert [bad.row for bad in features.quarantine] == [0, 2, 3, 4]
    assert "leaves the picture folder" in features.quarantine[0].reason


def test_without_a_folder_the_message_says_what_to_type(store):
    with pytest.raises(InputError, match=r"files that the column 'sound' names.*--images DIR"):
        encode(catalog_of(["a.wav"]), store)


def test_no_vector_at_all_is_a_failure(store, tmp_path):
    with pytest.raises(InputError, match=r"none of the 2 sound values.*0: no such file.*leave"):
        encode(catalog_of(["x.wav", "y.wav"], tmp_path), store)
    assert not encode(catalog_of([None, None], tmp_path), store).present.any()
    table = pa.table({"item_id": ["a"], "image": [b"no picture"]})
    with pytest.raises(InputError, match=r"none of the 1 image values could be used \(a: not a pi"):
        encode_catalog(Catalog.from_table(table), EncoderConfig(text="none"), store)
    table = pa.table({"item_id": ["a", "b"], "image": ["a.png", "b.png"]})
    with pytest.raises(InputError, match=r"none of the 2 image values could be used \(a: no such"):
        encode_catalog(Catalog.from_table(table, tmp_path), EncoderConfig(text="none"), store)


def test_what_a_folder_names_needs_trust(store, tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"12")
    catalog = catalog_of(["a.wav"], tmp_path)
    assert encode(catalog, store, origin="the model M").dim == 1  # its module is imported
    monkeypatch.delitem(sys.modules, "sounds")
    (tmp_path / "planted.py").write_text("raise SystemExit('planted code ran')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"the model M wants .*--trust planted:Evil"):
        encode(catalog, store, spec="planted:Evil", origin="the model M")


def test_a_relative_path_is_kept_as_an_absolute_one(bert_folder, monkeypatch, store):
    monkeypatch.chdir(bert_folder.parent)
    table = pa.table({"item_id": ["a"], "title": ["red fruit"]})
    config = EncoderConfig(image="none", text=f"hf:./{bert_folder.name}")
    features = encode_catalog(Catalog.from_table(table), config, store)[0]
    assert features.spec == f"hf:{bert_folder}"


def test_a_misspelt_encoder_is_told_before_another_has_worked(store, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("encoded before all encoders were made")

    monkeypatch.setattr("p5mm.indexing.encode.encode_items", never)
    table = pa.table({"item_id": ["a"], "title": ["red"], "style": [[1.0, 2.0]]})
    with pytest.raises(InputError, match="cannot load the encoder"):
        encode_catalog(
            Catalog.from_table(table),
            EncoderConfig(image="none", text="none", others=("vector:style", "no_such:Class")),
            store,
        )
