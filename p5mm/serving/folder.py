"""A model on disk: readable by anyone, executed by no one."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from p5mm.config import RatingConfig, config_from_dict
from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.data.tables import read_table
from p5mm.errors import InputError
from p5mm.files import whole_folder
from p5mm.fusion.base import fusions
from p5mm.model.build import build_network
from p5mm.model.content import Content
from p5mm.model.prompts import read_prompts
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.t5 import load_t5
from p5mm.model.tokenizer import load_tokenizer
from p5mm.ranking.fitted import Fitted
from p5mm.ranking.trained_model import TrainedModel
from p5mm.retrieval.index import VectorIndex

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 3
PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib"}


def is_model(folder: Path) -> bool:
    """Whether the folder holds a finished model."""
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def write_model(model: TrainedModel, folder: Path) -> None:
    """Write a model folder; the T5 in it opens with Hugging Face's T5ForConditionalGeneration.

    Raises:
        InputError: The folder holds something else than a model.
    """
    import pyarrow.parquet as pq

    with whole_folder(folder) as draft:
        _write_t5(model, draft / "t5")
        weights = {n: p.contiguous() for n, p in _own_weights(model).items()}
        save_file(weights, draft / "model.safetensors")
        model.content.save(draft / "content.safetensors")
        lines = [prompt.line for prompt in model.prompts]
        (draft / "prompts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        _write_neighbours(model.neighbours, draft / "neighbours.safetensors")
        model.catalog.write(draft / "items.parquet")
        pq.write_table(model.log.table, draft / "interactions.parquet")
        model.index.save(draft / "index")
        (draft / "config.json").write_text(json.dumps(_describe(model), indent=2))


def read_model(folder: Path) -> TrainedModel:
    """Read a model folder.

    Raises:
        InputError: It is no model folder, is damaged, or holds a pickle.
    """
    if not is_model(folder):
        raise InputError(
            f"{folder} is no model folder (config.json and model.safetensors are missing); "
            "p5mm train CONFIG.yaml --out MODEL makes one"
        )
    refuse_pickles(folder)
    try:
        return _read(folder)
    except (KeyError, ValueError, OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the model folder {folder} is damaged: {error}") from error


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


def _own_weights(model: TrainedModel) -> "dict[str, Tensor]":
    state = model.network.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("t5.")}


def _write_t5(model: TrainedModel, folder: Path) -> None:
    folder.mkdir()
    t5 = model.network.t5
    save_file(
        {n: p.contiguous() for n, p in t5.state_dict().items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(t5.config.to_dict(), indent=2))
    model.tokenizer.save(str(folder / "tokenizer.json"))


def _describe(model: TrainedModel) -> dict[str, Any]:
    config = asdict(model.config)
    config["data"]["root"] = None  # a model carries no path of the machine that trained it
    config["train"]["prompts"] = None  # they are in prompts.txt
    for name in ("catalog", "interactions", "images"):
        value = config["data"][name]
        config["data"][name] = value if value and not Path(value).is_absolute() else None
    return {
        "p5mm": VERSION,
        "config": config,
        "fingerprints": model.content.fingerprints,
        "fitted": asdict(model.fitted),
    }


def _read(folder: Path) -> TrainedModel:
    about = json.loads((folder / "config.json").read_text())
    if about.get("p5mm") != VERSION:
        raise InputError(
            f"{folder} was written in format {about.get('p5mm')}; this p5mm reads format {VERSION}"
        )
    config = config_from_dict(about["config"])
    fusions.refuse_strange_path(config.model.fusion, str(folder))
    catalog = Catalog.load(folder / "items.parquet")
    content = Content.load(
        folder / "content.safetensors", len(catalog), dict(about["fingerprints"])
    )
    weights = load_file(folder / "model.safetensors")
    trained = weights["items.trained"]
    fitted = _fitted(about["fitted"])
    prior = (
        _empty_prior(len(catalog), fitted, config.rating)
        if "rating_prior.totals" in weights
        else None
    )
    network = build_network(config.model, content, trained, load_t5(folder / "t5"), prior)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    wrong = [name for name in missing if not name.startswith("t5.")] + unexpected
    if wrong:
        raise InputError(f"{folder}: the weights do not fit the configuration: {wrong[:3]}")
    log = Interactions.from_table(read_table(folder / "interactions.parquet"))
    tokenizer = load_tokenizer(folder / "t5")
    neighbours = _read_neighbours(folder / "neighbours.safetensors", len(catalog))
    index = VectorIndex.load(folder / "index")
    prompts = read_prompts(folder / "prompts.txt")
    return TrainedModel(
        config, catalog, log, content, network.eval(), tokenizer, prompts, neighbours, fitted, index
    )


def _empty_prior(items: int, fitted: Fitted, settings: RatingConfig) -> RatingPrior:
    """A prior that the stored weights are read into."""
    return RatingPrior(torch.zeros(items), torch.zeros(items), fitted.levels, settings)


def _fitted(values: dict[str, Any]) -> Fitted:
    listed = {name: tuple(values[name]) for name in ("rating_scale", "levels", "prompt", "items")}
    return Fitted(**(values | listed))


def _write_neighbours(neighbours: Any, path: Path) -> None:
    save_arrays({name: getattr(neighbours, name) for name in ("data", "indices", "indptr")}, path)


def _read_neighbours(path: Path, items: int) -> Any:
    from scipy.sparse import csr_matrix

    arrays = load_arrays(path)
    entries = (arrays["data"], arrays["indices"], arrays["indptr"])
    return csr_matrix(entries, shape=(items, items))
