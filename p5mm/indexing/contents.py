"""What a catalog index holds, in memory and on disk."""

from dataclasses import dataclass

from p5mm.data.catalog import Catalog
from p5mm.encoders.alignment import Alignment
from p5mm.encoders.base import Features
from p5mm.retrieval.index import VectorIndex


@dataclass(frozen=True)
class Refused:
    """A value that was given for an item and could not be used."""

    item_id: str
    modality: str
    reason: str


@dataclass(frozen=True)
class IndexContents:
    """The items of a catalog, their vectors, and one vector index a view.

    Attributes:
        catalog: Every item, also those without any vector; without pictures and vector columns.
        features: The vectors of each modality, in the catalog's rows.
        views: "image", "text", and "joint" where pictures and texts share a space.
        quarantine: What could not be used.
        alignment: The heads that bring pictures and texts into one space, once trained.
    """

    catalog: Catalog
    features: dict[str, Features]
    views: dict[str, VectorIndex]
    quarantine: tuple[Refused, ...] = ()
    alignment: Alignment | None = None
