"""Words to token ids: nano's own small tokenizer, or that of a pretrained T5."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from p5mm.errors import InputError
from p5mm.files import writing
from p5mm.model.prompts import SLOT, Prompt

PAD, EOS, UNKNOWN = 0, 1, 2
VOCABULARY = 512  # of prompts, at most; the bytes are half of it
WORDED = 4096  # where texts are learned too
LETTERS = 32  # of a token at most: a text is cut before it is read
LEVELS = tuple(str(level) for level in range(1, 11))  # answers of the rating family
START = PAD  # T5's decoder starts with the padding token
ITEM = -1  # marks one soft token of the item in question


def train_tokenizer(texts: Iterable[str], size: int = VOCABULARY) -> Tokenizer:
    """A byte-level BPE of some texts' words, which can spell everything else."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *(" ".join(LEVELS) for _ in range(100))], trainer)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer.json of a folder.

    Raises:
        InputError: There is none, or it is damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(
            f"{folder} has no tokenizer.json; save the model's fast tokenizer there "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER))"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
        # Prompts are read as they are: a file may ask for padding to any length.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer
    except BaseException as error:  # the library has no class of its own, and panics of Rust
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise InputError(f"{path} is no tokenizer: {str(error)[:300]}") from error


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write a tokenizer.json.

    Raises:
        OSError: It cannot be written.
    """
    with writing(path, Exception):  # the library has no class of its own
        tokenizer.save(str(path))


def check_tokenizer(tokenizer: Tokenizer, vocabulary: int) -> None:
    """Check that every token is one of the T5's.

    Raises:
        InputError: There is one that is not.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if not 0 <= highest < vocabulary:
        raise InputError(f"its highest token is {highest}; the T5 has {vocabulary} tokens")


def prompt_tokens(tokenizer: Tokenizer, prompt: Prompt, soft_tokens: int) -> list[int]:
    """Ids of a prompt after the decoder's start; an item slot is ``soft_tokens`` times ``ITEM``."""
    ids = [START]
    for piece in prompt.pieces:
        if piece == SLOT:
            ids += [ITEM] * soft_tokens
        else:
            ids += tokenizer.encode(piece, add_special_tokens=False).ids
    return ids


def beginning(text: str, length: int) -> str:
    """As much of a text as may be needed for its first ``length`` tokens."""
    return text[: LETTERS * length]


def tokens_of(
    tokenizer: Tokenizer, texts: Sequence[str | None], length: int, closed: bool = False
) -> Tensor:
    """Texts as ``[n, length]`` int64, padded; what is longer is cut.

    Args:
        tokenizer: Of the T5.
        texts: None and empty ones are all padding.
        length: Tokens of a text at most.
        closed: Whether the end token follows.
    """
    made = torch.full((len(texts), length), PAD)
    for row, text in enumerate(texts):
        found = tokenizer.encode(beginning(text or "", length), add_special_tokens=False)
        ids = [token for token in found.ids if token not in (PAD, EOS)]  # a text may spell them
        ids = ([*ids, EOS] if closed and ids else ids)[:length]
        made[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return made


def level_tokens(tokenizer: Tokenizer, levels: int) -> Sequence[int]:
    """The token of each rating level "1", "2", ...: what the rating family answers with.

    Raises:
        InputError: The tokenizer has no single token for a level.
    """
    tokens = []
    for level in LEVELS[:levels]:
        ids = tokenizer.encode(level, add_special_tokens=False).ids
        if not ids or tokenizer.decode([ids[-1]]).strip() != level:
            raise InputError(f"the tokenizer has no single token for the rating level '{level}'")
        tokens.append(ids[-1])
    return tokens
