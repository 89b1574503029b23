"""A catalog table and a log table."""

from p5mm.data.interactions import Interactions
from p5mm.data.readers.source import Data, Source


def read_tables(source: Source) -> Data:
    """Tables: catalog.* or items.*, and interactions.* or ratings.*, in any table form."""
    catalog = source.catalog or source.table("catalog", "items")
    log = source.interactions or source.table("interactions", "ratings")
    forms = "(.parquet, .csv, .tsv or .jsonl)"
    catalog = source.needed(catalog, "catalog", f"catalog.* or items.* {forms}", "catalog")
    log = source.needed(log, "log", f"interactions.* or ratings.* {forms}", "interactions")
    return source.read_catalog(catalog), Interactions.read(log)
