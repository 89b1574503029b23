"""A model opened to recommend, by the runtime that is asked for."""

import tempfile
from pathlib import Path

from p5mm.errors import InputError, unknown
from p5mm.portable.folder import PortableModel, is_export, read_export
from p5mm.portable.scorer import PortableScorer
from p5mm.serving.server import Recommends

TORCH, ONNX = "torch", "onnx"
RUNTIMES = (TORCH, ONNX)


class PortableRecommender(Recommends):
    """Recommends without torch.

    Args:
        model: Exported.

    Example:
        In a process that has no torch::

            recommender = PortableRecommender.load("exported")
            table = recommender.recommend(histories=[["apple", "pear"]], k=5)
    """

    runtime = ONNX

    def __init__(self, model: PortableModel) -> None:
        self.model: PortableModel = model

    @property
    def scorer(self) -> PortableScorer:
        """Ranks by onnxruntime, faiss and numpy."""
        return self.model.scorer

    @classmethod
    def load(cls, folder: str | Path) -> "PortableRecommender":
        """Read what ``p5mm export`` wrote; nothing in it is ever executed.

        Raises:
            InputError: It is no exported model, or is damaged; or a package is missing.
        """
        return cls(read_export(Path(folder)))


def open_recommender(folder: Path, runtime: str | None = None) -> Recommends:
    """Whoever recommends the items of a model.

    Args:
        folder: Of a model, or of an exported one.
        runtime: One of ``RUNTIMES``; where None, torch runs a model and onnxruntime an exported
            one. A model that onnxruntime shall run is exported for the occasion.

    Raises:
        InputError: The runtime is unknown or does not run this, or the folder cannot be read.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    if is_export(folder):
        if runtime == TORCH:
            raise InputError(
                f"{folder} is an exported model, which torch does not run; give the model that it "
                "was exported from, or leave out --runtime"
            )
        return PortableRecommender.load(folder)
    from p5mm.serving.recommender import Recommender

    recommender = Recommender.load(folder)
    if runtime != ONNX:
        return recommender
    from p5mm.portable.export import write_export

    with tempfile.TemporaryDirectory(prefix="p5mm-") as made:
        write_export(recommender.model, Path(made) / "exported")
        return PortableRecommender.load(Path(made) / "exported")
