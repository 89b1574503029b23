"""What the parts of a model folder must agree on."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.arrays import Expected, check_range
from p5mm.config import Config, config_from_dict
from p5mm.errors import InputError, unknown
from p5mm.evidence.similarity import CONTENT, NEIGHBOURS
from p5mm.model.content import Content
from p5mm.model.layers import T5Config
from p5mm.model.tokenizer import LEVELS
from p5mm.plain import check_type
from p5mm.ranking.fitted import Fitted
from p5mm.ranking.places import BEYOND
from p5mm.ranking.scorer import DECODER
from p5mm.retrieval.tuning import factory_string

MOST = 10**8  # of anything that is counted in items
LARGEST = 1e6  # of a weight or handicap: scores stay far from where float32 ends


def read_settings(about: Mapping[str, Any]) -> tuple[Config, Fitted, dict[str, str]]:
    """The configuration, what was fitted, and the encoders' fingerprints of a config.json.

    Raises:
        InputError: A key is missing, unknown, or of another type.
    """
    for name, kind in {"config": Config, "fitted": Fitted, "fingerprints": dict[str, str]}.items():
        check_type(about.get(name), kind, name)
    listed = {k: tuple(v) for k, v in about["fitted"].items() if isinstance(v, list)}
    logs = {name: about["fitted"][name] for name in ("log", "task_log")}
    fitted = Fitted(**(about["fitted"] | listed | logs))
    return config_from_dict(about["config"]), fitted, dict(about["fingerprints"])


def check_settings(config: Config, t5: T5Config, items: int, dim: int) -> None:
    """Check that the configuration says the sizes of the T5 beside it, and a kind of index.

    Args:
        config: To be checked.
        t5: Sizes of the T5.
        items: Of the catalog.
        dim: Length of the vectors that are indexed.

    Raises:
        InputError: It does not.
    """
    factory_string(config.retrieval.index, 1, dim)  # what it holds was enough when it was made
    for name, value in {
        "data.k_core": config.data.k_core,
        "model.max_history": config.model.max_history,
        "model.relations": config.model.relations,
        "retrieval.candidates": config.retrieval.candidates,
        "retrieval.shortlist": config.retrieval.shortlist,
    }.items():
        if not 0 <= value <= MOST:
            raise InputError(f"{name} is {value}; 0 to {MOST:,} make sense")
    model = config.model
    said = (model.d_model, model.layers, model.decoder_layers)
    there = (t5.d_model, t5.num_layers, t5.num_decoder_layers)
    if model.t5 == "nano" and said != there:
        raise InputError(
            f"model.d_model, model.layers and model.decoder_layers are {said}, those of the T5 "
            f"beside it {there}"
        )


def check_fitted(
    fitted: Fitted, content: Content, item_ids: AbstractSet[str], vocabulary: int
) -> None:
    """Check that what was fitted fits the other parts of its model.

    Args:
        fitted: To be checked.
        content: Of the catalog.
        item_ids: Of the catalog.
        vocabulary: Number of the T5's tokens.

    Raises:
        InputError: It does not.
    """
    parts = {DECODER, NEIGHBOURS, *(CONTENT + name for name in content.vectors)}
    for told, weights in {"weights": fitted.weights, "similarities": fitted.similarities}.items():
        for name, weight in weights.items():
            if name not in parts:
                raise unknown(f"part in fitted.{told}", name[:80], parts)
            _check_size(weight, f"fitted.{told}.{name}")
    _check_size(fitted.handicap, "fitted.handicap")
    if not 0 <= fitted.lift < BEYOND:
        raise InputError(f"fitted.lift is {fitted.lift}; it is at least 0 and below {BEYOND:g}")
    if not 0 < fitted.rating_scale[1] < 1 / 1e-30 or abs(fitted.rating_scale[0]) > 1e30:
        raise InputError(f"fitted.rating_scale is {fitted.rating_scale}; a spread is above 0")
    _check_levels(fitted.levels)
    _check_prompt(fitted, vocabulary)
    if not fitted.items or len(set(fitted.items)) != len(fitted.items):
        raise InputError("fitted.items are none, or one of them stands there twice")
    strange = set(fitted.items) - item_ids
    if strange:
        raise InputError(f"fitted.items has '{min(strange)[:80]}', which is no item of the catalog")


def check_codes(digits: NDArray[Any], books: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
    """Check that every item of which something is known has a code of its own, and no other has.

    Args:
        digits: ``[items, levels + 1]``, -1 for none.
        books: ``[levels, size, d]``.
        known: ``[items]``.

    Raises:
        InputError: It is not so.
    """
    levels, size = books.shape[:2]
    Expected((len(known), levels + 1), ("int64",), -1).check(digits, "codes.digits")
    if not (digits[~known] == -1).all() or not (digits[known] >= 0).all():
        raise InputError("codes.digits must be those of the items of which something is known")
    check_range(digits[:, :-1], "codes.digits", -1, size - 1)
    check_range(digits[:, -1], "the last of codes.digits", -1, len(known) - 1)
    if len(np.unique(digits[known], axis=0)) != known.sum():
        raise InputError("two items have the same code in codes.digits")


def _check_size(value: float, name: str) -> None:
    if abs(value) > LARGEST:
        raise InputError(f"{name} is {value:g}; at most {LARGEST:g} is allowed")


def _check_levels(levels: Sequence[float]) -> None:
    rising = all(low < high for low, high in pairwise(levels))
    if len(levels) > len(LEVELS) or not rising:
        raise InputError(f"fitted.levels must be at most {len(LEVELS)} rising numbers")


def _check_prompt(fitted: Fitted, vocabulary: int) -> None:
    if not fitted.prompt:
        raise InputError("fitted.prompt is empty; the decoder needs one")
    for token in fitted.prompt:
        if not 0 <= token < vocabulary:
            raise InputError(f"fitted.prompt has the token {token}; the T5 has {vocabulary}")
