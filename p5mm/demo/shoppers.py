"""Simulated shoppers: a stated taste model draws who takes what, so that the truth is known."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from p5mm.demo.colours import COLOURS
from p5mm.files import whole_file

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

MODEL = """The chart of stickers is cut into themes of neighbouring drawings. A
shopper loves three themes in two categories at first and, little by little, one theme gives way to
another. A shopper also likes two colours, measured on the picture, not in its name. A sticker's
utility is the sum of: theme loved, category loved, colours liked, popularity (Zipf), and likeness
to the sticker taken just before (same theme, same colours). The next sticker is drawn from the
softmax of the utilities over everything not taken yet. Some stickers are new: never sold."""


@dataclass(frozen=True)
class Taste:
    """The weights of the taste model, in units of log odds."""

    theme: float = 4.0
    category: float = 1.0
    colour: float = 3.0
    same_theme: float = 2.0
    same_colour: float = 2.0
    zipf: float = 0.6
    theme_size: int = 12
    new_items: float = 0.05
    shortest: int = 6
    longest: int = 30


@dataclass(frozen=True)
class Shop:
    """The truth: what the stickers are and what each shopper wants.

    Attributes:
        theme: ``[n]`` theme of each sticker.
        category: ``[n]`` category of each sticker.
        colours: ``[n, colours]`` shares of each colour.
        popularity: ``[n]`` log odds.
        is_new: ``[n]`` bool, True for stickers that are never sold.
        loves: ``[2, users, themes]`` at the beginning and at the end.
        favours: ``[users, categories]``.
        likes: ``[users, colours]``.
        lengths: ``[users]`` how many stickers each shopper takes.
    """

    taste: Taste
    theme: Ints
    category: Ints
    colours: Floats
    popularity: Floats
    is_new: NDArray[np.bool_]
    loves: Floats
    favours: Floats
    likes: Floats
    lengths: Ints

    def utilities(self, users: Ints, last: Ints, taken: Ints) -> Floats:
        """What each shopper would find each sticker worth next, in log odds.

        Args:
            users: ``[b]`` rows of shoppers.
            last: ``[b]`` the sticker taken just before, -1 for none.
            taken: ``[b]`` how many stickers each has taken; tastes drift with it.

        Returns:
            ``[b, n]`` float32, new stickers included.
        """
        progress = np.minimum(taken / np.maximum(self.lengths[users] - 1, 1), 1.0)[:, None]
        loves = (1 - progress) * self.loves[0, users] + progress * self.loves[1, users]
        colours = self.taste.colour * self.likes[users]
        colours = colours + self.taste.same_colour * self.colours[last] * (last >= 0)[:, None]
        utilities: Floats = (
            self.taste.theme * loves[:, self.theme]
            + self.taste.category * self.favours[users][:, self.category]
            + self.taste.same_theme * ((self.theme[last] == self.theme[:, None]) & (last >= 0)).T
            + colours @ self.colours.T
            + self.popularity
        ).astype(np.float32)
        return utilities


def open_shop(
    categories: Sequence[str],
    colours: Floats,
    *,
    shoppers: int,
    seed: int,
    taste: Taste | None = None,
) -> Shop:
    """Draw the stickers' popularity, which of them are new, and the shoppers' tastes.

    Args:
        categories: ``[n]`` category of each sticker, in the order of the chart.
        colours: ``[n, colours]`` from the pictures.
        shoppers: How many shoppers there are.
        seed: The same seed gives the same shop.
        taste: Other weights than the stated ones.
    """
    taste = taste or Taste()
    rng = np.random.default_rng([seed, 0])
    category = np.unique(categories, return_inverse=True)[1].astype(np.int64)
    theme = _themes(category, taste.theme_size)
    n = len(category)
    is_new = np.zeros(n, dtype=np.bool_)
    is_new[rng.choice(n, max(1, round(taste.new_items * n)), replace=False)] = True
    loves, favours = _loves(rng, theme, category, shoppers)
    likes = np.zeros((shoppers, len(COLOURS)), dtype=np.float32)
    shown = colours.mean(axis=0) + 0.02
    for weight in (1.0, 0.6):
        likes[np.arange(shoppers), rng.choice(len(COLOURS), shoppers, p=shown / shown.sum())] = (
            weight
        )
    popularity = -taste.zipf * np.log(rng.permutation(n) + 5.0)
    longest = min(taste.longest, int((~is_new).sum()))
    lengths = rng.integers(min(taste.shortest, longest), longest + 1, shoppers)
    return Shop(
        taste,
        theme,
        category,
        colours,
        popularity.astype(np.float32),
        is_new,
        loves,
        favours,
        likes,
        lengths,
    )


def simulate(shop: Shop, seed: int) -> Ints:
    """Let every shopper take stickers, one after another, none of them twice.

    Returns:
        ``[users, longest]`` item rows, -1 after a shopper's last one.
    """
    rng = np.random.default_rng([seed, 1])
    users = np.arange(len(shop.lengths), dtype=np.int64)
    taken = np.full((len(users), int(shop.lengths.max())), -1, dtype=np.int64)
    free = np.tile(~shop.is_new, (len(users), 1))
    for step in range(taken.shape[1]):
        here = users[shop.lengths > step]
        last = taken[here, step - 1] if step else np.full(len(here), -1)
        odds = np.exp(shop.utilities(here, last, np.full(len(here), step))) * free[here]
        # the largest of odds / exponential noise is a draw from the softmax (Gumbel-max)
        noise = rng.standard_exponential(odds.shape, dtype=np.float32) + np.float32(1e-12)
        choice = np.argmax(odds / noise, axis=1)
        taken[here, step] = choice
        free[here, choice] = False
    return taken


def write_log(out: Path, shop: Shop, taken: Ints, item_ids: Sequence[str], seed: int) -> Path:
    """Write ``interactions.parquet`` and, in words and numbers, ``taste.json``."""
    rng = np.random.default_rng([seed, 2])
    users, steps = np.nonzero(taken >= 0)
    days = np.cumsum(rng.exponential(3.0, taken.shape), axis=1) + rng.uniform(
        0, 200, (len(taken), 1)
    )
    opening = 1_735_689_600  # 2025-01-01
    table = pa.table(
        {
            "user_id": [shopper_id(user) for user in users.tolist()],
            "item_id": [item_ids[row] for row in taken[users, steps].tolist()],
            "timestamp": (opening + 86_400 * days[users, steps]).astype(np.int64),
        }
    )
    stated = {
        "simulated": True,
        "model": " ".join(MODEL.split()),
        "weights": asdict(shop.taste),
        "seed": seed,
        "shoppers": len(taken),
        "interactions": table.num_rows,
        "themes": int(shop.theme.max()) + 1,
        "colours": list(COLOURS),
        "new_items": [item_ids[row] for row in np.flatnonzero(shop.is_new).tolist()],
    }
    with whole_file(out / "taste.json") as part:
        part.write_text(json.dumps(stated, indent=2, ensure_ascii=False), encoding="utf-8")
    with whole_file(out / "interactions.parquet") as part:
        pq.write_table(table, part)
    return out / "interactions.parquet"


def shopper_id(user: int) -> str:
    """The id of a shopper's row; ids sort as rows do."""
    return f"shopper-{user:05d}"


def _themes(category: Ints, size: int) -> Ints:
    """Cut each category's part of the chart into runs of about ``size`` neighbours."""
    theme = np.empty_like(category)
    first = 0
    for name in np.unique(category):
        rows = np.flatnonzero(category == name)
        runs = max(1, round(len(rows) / size))
        theme[rows] = first + np.arange(len(rows)) * runs // len(rows)
        first += runs
    return theme


def _loves(
    rng: np.random.Generator, theme: Ints, category: Ints, shoppers: int
) -> tuple[Floats, Floats]:
    """Themes loved at the beginning and the end, and the categories they are in."""
    themes = int(theme.max()) + 1
    home = np.zeros(themes, dtype=np.int64)
    home[theme] = category
    loves = np.zeros((2, shoppers, themes), dtype=np.float32)
    favours = np.zeros((shoppers, int(category.max()) + 1), dtype=np.float32)
    fame = rng.pareto(2.0, themes) + 1.0
    for user in range(shoppers):
        two = np.unique(home[rng.choice(themes, 2, p=fame / fame.sum())])
        within = fame * np.isin(home, two)
        four = rng.choice(
            themes, min(4, int(np.count_nonzero(within))), replace=False, p=within / within.sum()
        )
        loves[0, user, four[:3]] = (1.0, 0.8, 0.6)[: len(four[:3])]
        loves[1, user, four[1:]] = (0.8, 0.6, 1.0)[: len(four[1:])]
        favours[user, two] = 1.0
    return loves, favours
