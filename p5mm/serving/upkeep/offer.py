"""The items of a catalog beside those of a model: which it has, and what is said of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from p5mm.data.catalog import Catalog
from p5mm.data.pictures import Pictures
from p5mm.errors import InputError, shown
from p5mm.indexing.change import NEW, places, unlike
from p5mm.ranking.trained_model import TrainedModel

IMAGE, TEXT = "image", "text"


@dataclass(frozen=True)
class Offer:
    """The items of a catalog beside those of a model.

    Attributes:
        before: The model's catalog.
        columns: That the catalog gives.
        catalog: ``m`` items: its cells, and the model's where it has none for a known item.
        rows: ``[m]`` int64 the row of each in the model; new ones follow the last.
        other_cells: ``[m]`` True for known items of which a cell is another than the model's;
            pictures and vectors are compared when they are encoded.
    """

    before: Catalog
    columns: tuple[str, ...]
    catalog: Catalog
    rows: NDArray[np.int64]
    other_cells: NDArray[np.bool_]

    @classmethod
    def of(cls, model: TrainedModel, given: Catalog) -> "Offer":
        """Compare a catalog with a model's.

        Raises:
            InputError: A column is of another type than the model's, or no column of texts is one
                that the model's texts are made of.
        """
        before = model.catalog
        _check_text(before, given)
        place = places(given, before)
        known, new = place != NEW, place == NEW
        rows = place.copy()
        rows[new] = len(before) + np.arange(int(new.sum()))
        table, was = _overlaid(before.table, given.table, place)
        catalog = replace(given, table=table, text=before.text)
        skipped = {"item_id", IMAGE, *catalog.vectors, *given.vectors}
        other = np.zeros(len(given), np.bool_)
        for name in table.column_names:
            if name not in skipped:
                other |= unlike(table[name], was[name])
        return cls(before, tuple(given.table.column_names), catalog, rows, other & known)

    @property
    def known(self) -> NDArray[np.bool_]:
        """``[m]`` True for the items that the model has, deleted ones too."""
        return self.rows < len(self.before)

    @property
    def items(self) -> int:
        """How many items the model has with those of the catalog."""
        return len(self.before) + int((~self.known).sum())

    def gives(self, source: str | Sequence[str]) -> bool:
        """Whether the catalog says something of what an encoder reads."""
        if source == IMAGE:
            return self.catalog.pictures is not None
        names = (
            self.before.text if source == TEXT else [source] if isinstance(source, str) else source
        )
        return any(name in self.columns for name in names)

    def joined(self, changed: NDArray[np.bool_]) -> Catalog:
        """The model's catalog with the items that are new, and those ``[m]`` that have changed."""
        order = np.arange(self.items)
        taken = changed | ~self.known
        order[self.rows[taken]] = len(self.before) + np.flatnonzero(taken)
        whole = _joined_tables(self.before.table, self.catalog.table)
        pictures: list[Pictures | None] | None = None
        if self.before.pictures is not None or self.catalog.pictures is not None:
            both = [*_pictures(self.before), *_pictures(self.catalog)]
            pictures = [both[row] for row in order.tolist()]
        names = {self.catalog.item_ids[row] for row in np.flatnonzero(taken)}
        quarantine = [bad for bad in self.before.quarantine if bad[0] not in names]
        quarantine += [bad for bad in self.catalog.quarantine if bad[0] in names]
        table = whole.take(pa.array(order))
        return replace(self.before, table=table, pictures=pictures, quarantine=tuple(quarantine))


def _check_text(before: Catalog, given: Catalog) -> None:
    """See that a catalog's texts can be texts of a model.

    Raises:
        InputError: It has some, and none of the model's.
    """
    if before.text and given.text and not set(before.text) & set(given.table.column_names):
        raise InputError(
            f"the model's texts are made of {', '.join(map(shown, before.text))}, and the catalog "
            f"has {', '.join(map(shown, given.text))}; rename its columns as the model has them"
        )


def _overlaid(
    before: pa.Table, given: pa.Table, place: NDArray[np.int64]
) -> tuple[pa.Table, pa.Table]:
    """The given rows with what they do not say of known items, and what was known of them."""
    whole = _joined_tables(before, given)
    own = before.num_rows + np.arange(given.num_rows)
    was = whole.take(pa.array(place, mask=place == NEW))
    columns = {}
    for name in whole.column_names:
        said = np.zeros(given.num_rows, np.bool_)
        if name in given.column_names:
            said = pc.is_valid(given[name]).to_numpy()
        row = np.where(said, own, place)
        columns[name] = whole[name].take(pa.array(row, mask=row == NEW))
    return pa.table(columns), was


def _joined_tables(before: pa.Table, given: pa.Table) -> pa.Table:
    """Both tables as one; a column of two types takes one that holds both.

    Raises:
        InputError: A column has types that do not agree.
    """
    try:
        return pa.concat_tables([before, given], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            "the catalog has a column of another type than that of the model "
            f"({shown(str(error))[:200]}); write it as the model's catalog has it"
        ) from error


def _pictures(catalog: Catalog) -> list[Pictures | None]:
    return [None] * len(catalog) if catalog.pictures is None else list(catalog.pictures)
