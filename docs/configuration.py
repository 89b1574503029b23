"""Writes docs/configuration.md from the dataclasses of p5mm.config.

Run python docs/configuration.py after a change of it.
"""

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from p5mm.commands.options import keys
from p5mm.config import sections
from p5mm.presets import presets

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Configuration

<!-- docs/configuration.py writes this page from p5mm/config.py; do not edit it here. -->

A configuration is a YAML whose sections and keys are those below; what it leaves out has the
default. `p5mm train` takes a YAML or the name of a preset, and any key on the command line:

    p5mm train default --data shop --out shop-model --model.fusion concat --train.epochs 20
    p5mm train default --data shop --out shop-model --encoders.others '["vector:sound"]'
    p5mm train default --data shop --out shop-model --train.tasks '{sequential: 0.5, rating: 0.2}'
    p5mm train default --data shop --out shop-model --train.tasks.rating 0.2

The last line adds one family to those of the default; the one before replaces them. A key that does
not exist is an error that names the nearest one. Everything that a saved model answers by is saved
with it, so a default that changes in a later version changes no old model. Paths are no part of
what is saved.

In Python, each section is a frozen dataclass of `p5mm.config`:

```python
from p5mm import Config
from p5mm.config import ModelConfig, TrainConfig

config = Config(model=ModelConfig(fusion="concat"), train=TrainConfig(epochs=20))
```

## Presets

`p5mm train --list` prints them; each is a file of `configs/`, a few keys long.

| preset | what it is for |
|---|---|
"""


def page() -> str:
    """The whole page."""
    lines = [f"| `{name}` | {_cell(about)} |" for name, about in presets().items()]
    parts = [_section(name, section) for name, section in sections().items()]
    return HEAD + "\n".join([*lines, "", *parts]) + "\n"


def _section(name: str, section: Any) -> str:
    about = (section.__doc__ or "").partition("\n")[0]
    lines = [f"## {name}\n", f"{about}\n", "| key | default | meaning |", "|---|---|---|"]
    hints = get_type_hints(type(section))
    for key, default, meaning in keys({name: section}):
        given = json.dumps(list(default) if isinstance(default, tuple) else default)
        words = [meaning, *_choices(hints[key.partition(".")[2]], meaning)]
        lines.append(f"| `{key}` | `{given}` | {_cell(' '.join(words))} |")
    return "\n".join([*lines, ""])


def _choices(hint: Any, meaning: str) -> list[str]:
    """The values that a key allows, unless its meaning says them."""
    if get_origin(hint) is not Literal or all(str(value) in meaning for value in get_args(hint)):
        return []
    return ["One of " + ", ".join(f"`{value}`" for value in get_args(hint)) + "."]


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
