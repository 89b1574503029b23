"""A model without its weights: what deletions and later interactions are worked out from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p5mm.data.catalog import read_items
from p5mm.data.interactions import Interactions
from p5mm.files import link, refuse_other_output, whole_folder
from p5mm.plain import read_json, reading
from p5mm.serving.folder import check_form, is_model, read_log
from p5mm.serving.since import DELETED, LATER, REMEDY, Since, read_since, write_since
from p5mm.steady import read_steadily


@dataclass(frozen=True)
class ModelRows:
    """The items of a model and who took them.

    Attributes:
        about: What config.json says.
        item_ids: Of the catalog, deleted ones too.
        log: Of the training.
        since: What has become of it.
    """

    about: dict[str, Any]
    item_ids: list[str]
    log: Interactions
    since: Since


def read_model_rows(folder: str | Path) -> ModelRows:
    """The items and the log of a model, as they stood at one moment.

    Raises:
        InputError: The folder is no model of a form that is read, or a file in it is broken.
    """
    return read_steadily(folder, _read)


def write_rows(folder: str | Path, rows: ModelRows, since: Since) -> None:
    """Write what has become of a model; nothing else of it is written again.

    Args:
        folder: Of the model, which is as ``rows`` say.
        rows: Of the model.
        since: What has become of it.

    Raises:
        OSError: It cannot be written.
    """
    with changed_folder(folder, ()) as draft:
        write_since(since, rows.about, draft)


def check_writable(folder: str | Path) -> None:
    """Refuse a folder that is no model's, or beside which nothing may be written.

    Raises:
        InputError: It is one.
    """
    refuse_other_output(folder, is_model, "model of p5mm")


@contextmanager
def changed_folder(folder: str | Path, written: tuple[str, ...]) -> Iterator[Path]:
    """A draft that takes the place of a model: all but what is written anew, by hard links.

    Args:
        folder: Of the model.
        written: Names of what is not taken over, besides what is told of the model since.

    Raises:
        OSError: It cannot be written.
    """
    folder = Path(folder).resolve()
    names = {*written, "config.json", DELETED, LATER}
    with whole_folder(folder) as draft:
        for path in sorted(folder.iterdir()):
            if path.name not in names:
                link(path, draft / path.name)
        yield draft


def _read(folder: Path) -> ModelRows:
    check_form(folder)
    about = read_json(folder / "config.json", REMEDY)
    item_ids = read_items(folder / "items.parquet", REMEDY).item_ids
    since = read_since(folder, about, len(item_ids))
    with reading(folder / "interactions.parquet", REMEDY):
        log = read_log(folder / "interactions.parquet")
    return ModelRows(about, item_ids, log, since)
