"""p5mm: catalog pictures and texts become soft prompts of a T5 that retrieves and reranks.

The public names are loaded on first use, so that ``import p5mm`` costs milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Catalog": "p5mm.data.catalog",
    "CatalogIndex": "p5mm.indexing.catalog_index",
    "Config": "p5mm.config",
    "DataConfig": "p5mm.config",
    "InputError": "p5mm.errors",
    "Interactions": "p5mm.data.interactions",
    "Recommender": "p5mm.serving.recommender",
    "open_dataset": "p5mm.data.dataset",
}
__all__ = [
    "Catalog",
    "CatalogIndex",
    "Config",
    "DataConfig",
    "InputError",
    "Interactions",
    "Recommender",
    "__version__",
    "open_dataset",
]

if TYPE_CHECKING:
    from p5mm.config import Config, DataConfig
    from p5mm.data.catalog import Catalog
    from p5mm.data.dataset import open_dataset
    from p5mm.data.interactions import Interactions
    from p5mm.errors import InputError
    from p5mm.indexing.catalog_index import CatalogIndex
    from p5mm.serving.recommender import Recommender


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'p5mm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
