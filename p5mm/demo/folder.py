"""The demo's folder: what belongs to it, and whether a demo of other settings is in it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from p5mm.errors import InputError, unknown
from p5mm.files import whole_file

Data = Literal["stickers", "movies"]


@dataclass(frozen=True)
class Settings:
    """What makes two runs of the demo the same.

    Attributes:
        data: Simulated shoppers of stickers, or real people and movies.
        seed: Of the shoppers and the training.
        quick: A small shop and a short training, to try the road.
    """

    data: Data = "stickers"
    seed: int = 0
    quick: bool = False

    def __post_init__(self) -> None:
        if self.data not in ("stickers", "movies"):
            raise unknown("demo data", self.data, ["stickers", "movies"])


class DemoFolder:
    """Paths of everything that the demo writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.catalog = root / "catalog.parquet"
        self.interactions = root / "interactions.parquet"
        self.pictures = root / "pictures"
        self.query = root / "query.png"
        self.index = root / "index"
        self.training = root / "training"
        self.model = root / "model"
        self.baselines = root / "baselines"
        self.evaluation = root / "evaluation.json"
        self.recommendations = root / "recommendations.parquet"
        self.contact_sheet = root / "contact_sheet.png"
        self.report = root / "report.html"

    @classmethod
    def claim(cls, root: Path, settings: Settings) -> "DemoFolder":
        """Take a folder for these settings: a new or empty one, or one that they began before.

        Raises:
            InputError: Something else is in the folder.
        """
        note = root / "settings.json"
        if note.exists():
            before = json.loads(note.read_text(encoding="utf-8"))
            if before != asdict(settings):
                raise InputError(
                    f"{root} holds a demo with {before}, and now {asdict(settings)} are asked for; "
                    "give another folder with --out, or delete that one"
                )
        elif root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise InputError(f"{root} is there and holds no demo; give another folder with --out")
        else:
            root.mkdir(parents=True, exist_ok=True)
            with whole_file(note) as part:
                part.write_text(json.dumps(asdict(settings)), encoding="utf-8")
        return cls(root)
