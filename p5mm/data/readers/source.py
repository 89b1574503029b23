"""Where data is: what a reader is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.raw_file import FORMS
from p5mm.errors import InputError

_PICTURE_FOLDERS = ("posters", "images", "pictures")
Data = tuple[Catalog, Interactions]


@dataclass(frozen=True)
class Source:
    """Where data is; what is None is looked for below ``root``.

    Attributes:
        root: The data's folder.
        catalog: The catalog, a table or a folder of pictures.
        interactions: The log.
        images: The picture folder; by default posters/, images/ or pictures/.
        text: Text columns of the catalog; all where None.
    """

    root: Path | None = None
    catalog: Path | None = None
    interactions: Path | None = None
    images: Path | None = None
    text: Sequence[str] | None = None

    def file(self, *names: str) -> Path | None:
        """The first file below root with one of these names."""
        below = [self.root / name for name in names] if self.root else []
        return next((path for path in below if path.is_file()), None)

    def table(self, *stems: str) -> Path | None:
        """The first table below root with one of these stems, in the order of `raw_file.FORMS`."""
        suffixes = [*FORMS, *(f"{form}.gz" for form in FORMS if form not in (".parquet", ".pq"))]
        return self.file(*(stem + suffix for stem in stems for suffix in suffixes))

    @property
    def pictures(self) -> Path | None:
        """The picture folder, where there is one."""
        if self.images or not self.root:
            return self.images
        folders = [self.root / name for name in _PICTURE_FOLDERS]
        return next((folder for folder in folders if folder.is_dir()), None)

    def read_catalog(self, path: Path) -> Catalog:
        """The catalog of a table or folder, with the source's pictures and text columns.

        Without a picture folder in the settings, paths in a column ``image`` may be below the
        table's own folder or below the picture folder beside it: where they are found counts.
        """
        if path.is_dir() or self.images is not None or self.pictures is None:
            return Catalog.read(path, None if path.is_dir() else self.images, self.text)
        own = Catalog.read(path, None, self.text)
        any_there = any(picture is not None for picture in own.pictures or ())
        return own if any_there else Catalog.read(path, self.pictures, self.text)

    def needed(self, path: Path | None, what: str, names: str, key: str) -> Path:
        """The path, if there is one.

        Raises:
            InputError: There is none; the message says what was looked for.
        """
        if path is None:
            raise InputError(
                f"no {what} is in {self.root}; {names} is looked for. Name the file: {key}: FILE"
            )
        return path
