"""Item vectors at unit length, and pictures and texts in one space."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.encoders.alignment import Alignment
from p5mm.encoders.base import Features

TINY = 1e-15  # length below which squares in float32 lose their meaning
FAMILIES = ("open_clip", "hf")  # of which one spec names both towers of one checkpoint


def one_space(features: Mapping[str, Features]) -> bool:
    """Whether pictures and texts come from the two towers of one checkpoint.

    "open_clip:A/B" is the same as "open_clip.text:A/B" for texts. A checkpoint of `hf` that made
    both is of CLIP's kind: others have no second tower.
    """
    if "image" not in features or "text" not in features:
        return False
    image, text = features["image"], features["text"]
    specs = [encoded.spec.replace(f".{encoded.modality}:", ":") for encoded in (image, text)]
    family = specs[0].partition(":")[0]
    return specs[0] == specs[1] and family in FAMILIES and image.dim == text.dim


def joint_vectors(
    features: Mapping[str, Features], alignment: Alignment | None
) -> NDArray[np.float32] | None:
    """Mean of an item's picture and text in one space, ``[n, d]`` at unit length.

    Zero where an item has neither; None where there is no such space, or nothing in it. Of some
    items of an index all may lack one side: what there is of the other is in the view all the same.
    """
    if alignment is None and not one_space(features):
        return None
    pair = [features["image"], features["text"]]
    if not any(encoded.present.any() for encoded in pair):
        return None
    vectors = [
        unit(encoded.vectors) if alignment is None
        else alignment.project(encoded.modality, encoded.vectors)
        for encoded in pair
    ]  # fmt: skip
    return unit(sum(v * encoded.present[:, None] for v, encoded in zip(vectors, pair, strict=True)))


def unit(vectors: Any) -> NDArray[np.float32]:
    """Vectors ``[n, d]`` at unit length; zero stays zero."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    odd = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] < TINY))
    if len(odd):  # squares that float32 cannot hold: scaled before they are squared
        peaks = np.abs(vectors[odd]).max(axis=1, keepdims=True)
        vectors = np.array(vectors)
        vectors[odd] = np.divide(
            vectors[odd], peaks, out=np.zeros_like(vectors[odd]), where=peaks > 0
        )
        norms[odd] = np.linalg.norm(vectors[odd], axis=1, keepdims=True)
    scaled: NDArray[np.float32] = np.divide(
        vectors, norms, out=np.zeros_like(vectors), where=norms > 0
    )
    return scaled
