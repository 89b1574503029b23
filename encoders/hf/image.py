"""Vision transformers, ConvNets, and the image towers of CLIP and its kin."""

from typing import Any

from p5mm.encoders.base import encoders
from p5mm.encoders.hf.checkpoint import folder_of, model_of, tensor_of
from p5mm.encoders.hf.processor import pixels_of
from p5mm.encoders.towers import ImageTower


class HFImage(ImageTower):
    """A vision model's pooled output or class token (or CLIP's image projection).

    Args:
        model: A transformers model without its unused pooler.
        pixels: How it wants its pictures.
    """

    kind = "hf image"

    def features(self, pixels: Any) -> Any:
        """The image projection, the pooled output, or the class token ``[b, dim]``."""
        given = pixels if isinstance(pixels, dict) else {"pixel_values": pixels.contiguous()}
        if hasattr(self.model, "get_image_features"):
            return tensor_of(self.model.get_image_features(**given))
        output = self.model(**given)
        if getattr(output, "pooler_output", None) is not None:
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if states.ndim == 4:  # a convolutional map [b, d, h, w]
            return states.mean(dim=(2, 3))
        classed = getattr(getattr(self.model, "embeddings", None), "cls_token", None)
        return states.mean(dim=1) if classed is None else states[:, 0]


@encoders.register("hf.image")
def hf_image(checkpoint: str) -> HFImage:
    """``hf.image:NAME`` or a folder: ViT, DINO, CLIP or SigLIP image tower, or a ConvNet.

    Raises:
        InputError: The checkpoint cannot be loaded.
    """
    from p5mm.encoders.frozen import loading

    with loading(f"hf.image:{checkpoint}", folder_of(checkpoint)):
        return image_of(checkpoint)


def image_of(name: str) -> HFImage:
    """The image encoder of a checkpoint, inside `p5mm.encoders.frozen.loading`."""
    return HFImage(model_of(name), pixels_of(name))
