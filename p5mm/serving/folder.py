"""A model on disk: readable by anyone, executed by no one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.arrays import SPARSE, Expected, check_names, read_arrays, square_csr, write_arrays
from p5mm.config import Config
from p5mm.data.catalog import read_items
from p5mm.data.interactions import Interactions
from p5mm.data.tables import read_table
from p5mm.errors import InputError
from p5mm.evidence.counts import PAIRS, Counts
from p5mm.files import holds_only, refuse_other_output, whole_folder
from p5mm.fusion.base import fusions
from p5mm.model.build import build_network, without_path
from p5mm.model.content import Content
from p5mm.model.item_codes import ItemCodes
from p5mm.model.network import Network
from p5mm.model.prompts import read_prompts
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.relation_reader import LEAST, WIDTH
from p5mm.model.t5 import T5, load_t5
from p5mm.model.tokenizer import check_tokenizer, load_tokenizer, save_tokenizer
from p5mm.plain import read_json, reading
from p5mm.ranking.first_day import width
from p5mm.ranking.trained_model import TrainedModel
from p5mm.retrieval.index import VectorIndex, check_index
from p5mm.serving.checks import (
    check_codes,
    check_fitted,
    check_settings,
    read_settings,
)
from p5mm.serving.since import (
    DELETED,
    FORMATS,
    LATER,
    REMEDY,
    Since,
    read_since,
    write_since,
)
from p5mm.steady import read_steadily

PICKLES = {
    ".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".tar",
}  # fmt: skip
CHECKPOINT = "checkpoint"  # what an unfinished training leaves in the folder of its model
OF_ITEMS = (
    "model.safetensors", "content.safetensors", "counts.safetensors", "items.parquet", "index",
)  # fmt: skip
PARTS = (*OF_ITEMS, "t5", "prompts.txt", "interactions.parquet")
OURS = {*PARTS, "config.json", DELETED, LATER, CHECKPOINT}
CODES = ("codes.books", "codes.digits")


def is_model(folder: Path) -> bool:
    """Whether the folder holds a finished model."""
    try:
        return (folder / "model.safetensors").is_file() and "p5mm" in read_json(
            folder / "config.json", REMEDY
        )
    except InputError:
        return False


def check_target(folder: Path, force: bool = False) -> None:
    """Refuse to put a model where something else is than a model, or one in training.

    Raises:
        InputError: Something else is there.
    """
    refuse_other_output(folder, _is_replaceable, "model of p5mm alone", force)


def write_model(model: TrainedModel, folder: Path, force: bool = False) -> None:
    """Write a model folder; the T5 in it opens with Hugging Face's T5ForConditionalGeneration.

    Args:
        model: Trained.
        folder: New, empty, or a model's, which is replaced whole.
        force: Replace whatever else is in the folder.

    Raises:
        InputError: The folder holds something else than a model, or is a file.
        OSError: It cannot be written.
    """
    check_target(folder, force)
    with whole_folder(folder) as draft:
        write_parts(model, draft)


def write_parts(model: TrainedModel, draft: Path) -> None:
    """Write ``PARTS``, and what became of a model.

    Raises:
        OSError: It cannot be written.
    """
    import pyarrow.parquet as pq

    _write_t5(model, draft / "t5")
    lines = [prompt.line for prompt in model.prompts]
    (draft / "prompts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pq.write_table(model.log.table, draft / "interactions.parquet")
    write_items(model, draft)


def write_items(model: TrainedModel, draft: Path) -> None:
    """Write what changes of a model when its items do: ``OF_ITEMS``, and what became of it.

    Raises:
        OSError: It cannot be written.
    """
    write_arrays(draft / "model.safetensors", _own_weights(model.network))
    model.content.save(draft / "content.safetensors")
    _write_counts(model.counts, draft / "counts.safetensors")
    model.catalog.write(draft / "items.parquet")
    if not model.config.retrieval.generate:
        model.index.save(draft / "index")
    rows = [model.catalog.rows[item] for item in model.deleted]
    since = Since(np.array(sorted(rows), np.int64), model.later, model.added)
    write_since(since, _describe(model), draft)


def read_model(folder: Path) -> TrainedModel:
    """Read a model folder, as it stood at one moment.

    Raises:
        InputError: It is no model folder, is damaged, holds a pickle, or leads out of itself.
    """
    return read_steadily(folder, _read)


def read_log(path: Path, nobody: bool = True) -> Interactions:
    """The log of a model.

    Args:
        path: Of its Parquet file.
        nobody: Whether it may be empty, as on a first day.

    Raises:
        InputError: It is no log, or empty.
    """
    table = read_table(path)
    table.validate(full=True)
    return Interactions.empty() if nobody and not table.num_rows else Interactions.from_table(table)


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder with files that could run code when opened.

    Raises:
        InputError: There is such a file.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICKLES:
            raise InputError(
                f"{path} may be a pickle, which can run code when it is opened; a p5mm model has "
                "none. Remove the file if you trust the rest of the folder"
            )


def _is_replaceable(folder: Path) -> bool:
    return holds_only(folder, {CHECKPOINT}) or (is_model(folder) and holds_only(folder, OURS))


def _own_weights(network: Network) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("t5.")}


def _write_t5(model: TrainedModel, folder: Path) -> None:
    folder.mkdir()
    t5 = model.network.t5
    write_arrays(folder / "model.safetensors", t5.state_dict(), {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(t5.config.to_dict(), indent=2))
    save_tokenizer(model.tokenizer, folder / "tokenizer.json")


def _describe(model: TrainedModel) -> dict[str, Any]:
    config = asdict(model.config)
    config["data"]["root"] = None  # a model carries no path of the machine that trained it
    config["model"]["t5"] = without_path(model.config.model.t5)
    config["train"]["prompts"] = None  # they are in prompts.txt
    for name in ("catalog", "interactions", "images"):
        value = config["data"][name]
        config["data"][name] = value if value and not Path(value).is_absolute() else None
    return {
        "config": config,
        "fingerprints": model.content.fingerprints,
        "fitted": asdict(model.fitted),
    }


def _read(folder: Path) -> TrainedModel:
    check_form(folder)
    about = read_json(folder / "config.json", REMEDY)
    with reading(folder / "config.json", REMEDY):
        config, fitted, fingerprints = read_settings(about)
        fusions.refuse_strange_path(config.model.fusion, str(folder))
    catalog = read_items(folder / "items.parquet", REMEDY)
    items = len(catalog)
    content = Content.load(folder / "content.safetensors", items, fingerprints)
    tokenizer = load_tokenizer(folder / "t5")
    t5 = load_t5(folder / "t5")
    with reading(folder / "config.json", REMEDY):
        d = t5.config.d_model
        wide = fitted.likeness or not config.train.epochs
        dim = width(content, d) if wide else d
        check_settings(config, t5.config, items, dim)
        check_fitted(fitted, content, set(catalog.item_ids), t5.config.vocab_size)
    with reading(folder / "t5" / "tokenizer.json", REMEDY):
        check_tokenizer(tokenizer, t5.config.vocab_size)
    network = _read_network(folder / "model.safetensors", config, content, t5, fitted.levels)
    with reading(folder / "interactions.parquet", REMEDY):
        log = read_log(folder / "interactions.parquet", nobody=not config.train.epochs)
        log.known(catalog.item_ids)  # there must be some
    counts = _read_counts(folder / "counts.safetensors", items)
    since = read_since(folder, about, items)
    index = None
    if not config.retrieval.generate:
        index = VectorIndex.load(folder / "index")
        with reading(folder / "index", REMEDY):
            known = np.flatnonzero(network.items.known.numpy())
            check_index(index, [catalog.item_ids[row] for row in known], dim)
    with reading(folder / "prompts.txt", REMEDY):
        prompts = read_prompts(folder / "prompts.txt")
    return TrainedModel(
        config, catalog, log, content, network.eval(), tokenizer, prompts, counts, fitted,
        index, str(folder), since.later, since.deleted_of(catalog.item_ids), since.added,
    )  # fmt: skip


def check_form(folder: Path) -> None:
    """Check that it is a model folder of a form that is read, without pickles.

    Raises:
        InputError: It is not.
    """
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise InputError(
            f"{folder} is no model folder (config.json and model.safetensors are missing); "
            "p5mm train CONFIG.yaml --out MODEL makes one"
        )
    version = read_json(folder / "config.json", REMEDY).get("p5mm")
    if version not in FORMATS:
        read = " and ".join(map(str, FORMATS))
        raise InputError(
            f"{folder} was written in format {str(version)[:20]}; this p5mm reads formats {read}"
        )
    refuse_pickles(folder)


def _read_network(
    path: Path, config: Config, content: Content, t5: T5, levels: Sequence[float]
) -> Network:
    """The network with its weights; its sizes are those of the weights, or nothing is built."""
    arrays = read_arrays(path, None, REMEDY)
    with reading(path, REMEDY):
        width = config.model.soft_tokens * t5.config.d_model
        for name, expected in {
            "items.trained": Expected((content.items,), ("bool",)),
            "items.residual.weight": Expected((content.items, width)),
            "reader.places.weight": Expected((1 + config.model.relations, WIDTH)),
            "reader.scale": Expected((None,), low=LEAST / 2),
            "reader.spread": Expected((None,), low=LEAST / 2),
        }.items():
            if name not in arrays:
                raise InputError(f"the array '{name}' is missing")
            expected.check(arrays[name], name)
        prior = None
        if "rating_prior.totals" in arrays:  # its numbers are read into an empty one
            totals, counts = torch.zeros(2, content.items).unbind()
            prior = RatingPrior(totals, counts, levels, config.rating)
        trained = torch.from_numpy(arrays["items.trained"].copy())
        if config.train.epochs and not trained.any():
            raise InputError("no item was trained")
        network = build_network(config.model, content, trained, t5, prior)
        network.codes = _read_codes(arrays, network, config)
        own = {name: tensor.numpy() for name, tensor in _own_weights(network).items()}
        check_names(arrays, own)
        for name, array in own.items():
            Expected(array.shape, (array.dtype.name,)).check(arrays[name], name)
        weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
        network.load_state_dict(weights, strict=False)  # the T5's own are in its folder
        return network


def _read_codes(
    arrays: Mapping[str, NDArray[Any]], network: Network, config: Config
) -> ItemCodes | None:
    """The codes among the arrays of a model; their own weights are still to be loaded."""
    if not any(name.startswith("codes.") for name in arrays):
        if config.retrieval.generate:
            raise InputError("retrieval.generate is true, yet the model has no codes")
        return None
    check_names({name: 0 for name in arrays if name in CODES}, dict.fromkeys(CODES))
    books, digits = (arrays[name] for name in CODES)
    sizes = (config.retrieval.code_levels, None, network.t5.config.d_model)
    Expected(sizes).check(books, "codes.books")
    check_codes(digits, books, network.items.known.numpy())
    return ItemCodes(torch.from_numpy(books.copy()), torch.from_numpy(digits.copy()))


def _write_counts(counts: Counts, path: Path) -> None:
    arrays = {
        f"{pairs}.{name}": getattr(getattr(counts, pairs), name)
        for pairs in PAIRS
        for name in SPARSE
    }
    write_arrays(path, arrays | {"taken": counts.taken})


def _read_counts(path: Path, items: int) -> Counts:
    arrays = read_arrays(path, None, REMEDY)
    with reading(path, REMEDY):
        sparse = [f"{pairs}.{name}" for pairs in PAIRS for name in SPARSE]
        check_names(arrays, dict.fromkeys([*sparse, "taken"]))
        Expected((items,), ("float32",), 0).check(arrays["taken"], "taken")
        pairs = {name: square_csr(arrays, name, items) for name in PAIRS}
        return Counts(**pairs, taken=arrays["taken"])
