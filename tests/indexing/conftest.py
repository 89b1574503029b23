"""Encoders that cost nothing and count what they encode, and catalogs of names."""

import numpy as np
import pyarrow as pa
import pytest

from p5mm.config import EncoderConfig
from p5mm.data.catalog import Catalog
from p5mm.encoders.base import encoders
from p5mm.indexing.build import build_index
from p5mm.indexing.catalog_index import CatalogIndex


class Counted:
    """A vector for each name; pictures and texts of one name are alike."""

    dim, one_thread = 6, True
    seen: list[str] = []  # noqa: RUF012

    @property
    def fingerprint(self):
        return f"counted {self.modality}"

    def load(self, raw):
        name = raw.read_bytes().decode() if hasattr(raw, "read_bytes") else raw
        name = name.decode() if isinstance(name, bytes) else name
        if name.startswith("broken"):
            raise ValueError("broken")
        self.seen.append(f"{self.modality} {name}")
        return np.random.default_rng(list(name.encode())).normal(size=6)

    def encode(self, batch):
        return np.asarray(batch, dtype=np.float32).reshape(-1, 6)


class Shop:
    """Catalogs by id and name, and the index of one folder."""

    both = EncoderConfig(image="counted", text="counted", workers=0)

    def __init__(self, out, seen):
        self.out = out
        self.seen = seen

    def catalog(self, items, **columns):
        """Items by id, each with a name that is its text and its picture; None has neither."""
        names = list(items.values())
        pictures = [None if name is None else name.encode() for name in names]
        table = {"item_id": list(items), "name": names, "image": pa.array(pictures, pa.binary())}
        return Catalog.from_table(pa.table(table | columns), text=["name"])

    def build(self, items, **columns):
        """The index brought up to a catalog of such items; what has changed."""
        return build_index(self.catalog(items, **columns), self.out, self.both)

    def files(self, folder=None):
        """Each file's number and bytes, of the index or of another folder."""
        folder = self.out if folder is None else folder
        return {
            path.relative_to(folder).as_posix(): (path.stat().st_ino, path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def items(self):
        """Id and text of each item in the folder, and what its vectors say."""
        index = CatalogIndex.load(self.out)
        names = index.catalog.table["name"].to_pylist()
        assert len(set(index.item_ids)) == len(index.item_ids)
        for made in index.features.values():
            for name, vector, there in zip(names, made.vectors, made.present, strict=True):
                if there:
                    expected = np.random.default_rng(list(name.encode())).normal(size=6)
                    np.testing.assert_array_equal(vector, expected.astype(np.float32))
        for view in index.views.values():
            assert set(view.item_ids) <= set(index.item_ids)
        return dict(zip(index.item_ids, names, strict=True))


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An index to come, with encoders of its own."""
    monkeypatch.setenv("P5MM_CACHE", str(tmp_path / "cache"))
    seen = []
    made = {
        f"counted.{side}": type(side, (Counted,), {"modality": side, "seen": seen})
        for side in ("image", "text")
    }
    monkeypatch.setattr(encoders, "_modules", ())
    monkeypatch.setattr(encoders, "_factories", made)
    return Shop(tmp_path / "index", seen)
