"""What README and docs say is so: examples run, commands parse, paths exist, tables are in sync."""

import argparse
import csv
import re
import runpy
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p5mm.commands.main import VERBS, _parser
from p5mm.config import sections
from p5mm.encoders.base import encoders
from p5mm.encoders.picture import read_picture
from p5mm.presets import presets, read_config

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "examples" / "README.md",
        ROOT / "benchmarks" / "RESULTS.md",
    )
    if page.is_file()
]
RUN = [page for page in PAGES if page.name == "README.md" or page.parent.name == "docs"]
TOP = ("p5mm", "encoders", "fusion", "retrieval", "configs", "benchmarks", "docs", "examples",
       "tests")  # fmt: skip
MADE = {"examples/colour.yaml"}  # by the reader
NAMES = {"r0s0": "1F34E", "r0s1": "1F34A", "u0": "ann", "u1": "bob"}  # the examples' own

pytestmark = pytest.mark.skipif(
    not (ROOT / "README.md").is_file(), reason="tests run away from the checkout"
)


class ToyPicture:
    """The mean colour of a picture."""

    modality = "image"
    dim = 3
    fingerprint = "mean colour, version 1"
    one_thread = True

    def load(self, raw: Path | bytes) -> np.ndarray:
        return np.asarray(read_picture(raw, 8).resize((4, 4)), np.float32).mean((0, 1)) / 255

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(batch, np.float32).reshape(-1, 3)


def by_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The lines ``p5mm VERB ...`` of indented blocks, and of the comments of a preset."""
    start = r"^(?:#  | {4})\s*"
    return re.findall(rf"{start}(p5mm (?:--\w+ \S+ )?[a-z]+\b.*)$", read(page), re.MULTILINE)


@pytest.fixture
def shop(toys, tmp_path, monkeypatch):
    """A folder with the shop of the examples, where toy encoders stand in for the embedded ones."""
    from p5mm.data.catalog import Catalog
    from p5mm.encoders.store import FeatureStore
    from p5mm.indexing.catalog_index import CatalogIndex
    from p5mm.indexing.encode import encode_catalog

    encoders.names()
    monkeypatch.setitem(encoders._factories, "embedded.text", toys.ToyText)
    monkeypatch.setitem(encoders._factories, "embedded.image", ToyPicture)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop" / "images").mkdir(parents=True)
    items = [
        (NAMES.get(i, i), t or "", i) for i, t in zip(*columns(toys.toy_catalog()), strict=True)
    ]
    write("shop/catalog.csv", ["item_id", "name"], [item[:2] for item in items])
    for row, (name, _, _) in enumerate(items):
        Image.new("RGB", (16, 16), (row * 6, 90, 160)).save(f"shop/images/{name}.png")
    Image.new("RGB", (16, 16), (1, 2, 3)).save("shop/images/new.png")
    log = [(NAMES.get(u, u), NAMES.get(i, i), time) for u, i, time, _ in toys.toy_rows()]
    write("shop/interactions.csv", ["user_id", "item_id", "timestamp"], log)
    write("new.csv", ["item_id", "name"], [("new", "ring0 step3")])
    catalog = Catalog.read("shop/catalog.csv", images="shop/images")
    features = encode_catalog(catalog, sections()["encoders"], FeatureStore())
    CatalogIndex.build(catalog, features).save("shop-index")


def columns(catalog) -> tuple[list[str], list[str | None]]:
    return catalog.item_ids, catalog.table["title"].to_pylist()


def write(file: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with open(file, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([names, *rows])


@pytest.mark.parametrize("page", [page for page in RUN if blocks(page, "python")], ids=by_name)
def test_the_examples_run_in_order(page, shop):
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", [page for page in RUN if blocks(page, "yaml")], ids=by_name)
def test_the_yaml_is_configuration(page, tmp_path):
    for block in blocks(page, "yaml"):
        (tmp_path / "c.yaml").write_text(block, encoding="utf-8")
        read_config(tmp_path / "c.yaml")


PRESETS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("page", [*PAGES, *PRESETS], ids=by_name)
def test_every_command_parses(page):
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        verb = words[2] if words[0] == "--import" else words[0]
        assert verb in VERBS, line
        options, rest = _parser([verb]).parse_known_args(words)
        assert options.verb == verb, line
        assert not rest or options.takes_more, line
        if rest:
            read_config(options.config if options.config in presets() else "default", rest)
        if verb == "train" and not Path(options.config).suffix:
            assert options.config in (*presets(), "CONFIG"), line


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_command_in_a_sentence_has_its_verb_and_options(page):
    for span in re.findall(r"`(p5mm [^`]+)`", read(page)):
        words = span.split()[1:]
        verb = words[2] if words[0] == "--import" else words[0]
        if not re.fullmatch(r"[a-z]+", verb):  # `p5mm --help`, or the row `p5mm - sasrec`
            continue
        assert verb in VERBS, span
        known = set(options_of(verb)) | {f"--{key}" for key in dotted()}
        assert {word for word in words if word.startswith("--")} <= known | {"--import"}, span


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_option_in_a_sentence_exists(page):
    known = {f"--{key}" for key in dotted()} | {"--version", "--import"}
    known |= {option for verb in VERBS for option in options_of(verb)}
    theirs = set(
        re.findall(r'"(--[a-z-]+)"', "".join(map(read, (ROOT / "benchmarks").glob("*.py"))))
    )
    for span in re.findall(r"`(--[a-z0-9_.-]+)", read(page)):
        assert span in known | theirs or span.startswith("--encoders.ablate."), span


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_key_in_a_sentence_exists(page):
    for span in re.findall(rf"`((?:{'|'.join(sections())})\.[a-z_0-9]+)", read(page)):
        assert span in dotted(), span


def options_of(verb: str) -> list[str]:
    actions = _parser([verb])._subparsers
    assert actions is not None
    choices = next(a for a in actions._group_actions if isinstance(a, argparse._SubParsersAction))
    return list(choices.choices[verb]._option_string_actions)


def dotted() -> set[str]:
    return {f"{name}.{key}" for name, part in sections().items() for key in vars(part)}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", read(page)):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        if anchor:
            assert anchor in headings(path), target


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    found = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_path_exists(page):
    tops = "|".join(TOP)
    named = re.findall(rf"(?<![\w./-])((?:{tops})/[\w./-]*[\w/])", read(page))
    named += re.findall(r"python (benchmarks/\w+\.py)", read(page))
    for path in set(named) - MADE:
        assert (ROOT / path).exists(), path


def test_configuration_is_what_the_code_says():
    made = runpy.run_path(str(ROOT / "docs" / "configuration.py"))
    assert read(made["PAGE"]) == made["page"](), "run: python docs/configuration.py"


def test_presets_say_in_one_line_what_they_are_for():
    for path in PRESETS:
        about, command = read(path).splitlines()[:2]
        assert re.fullmatch(r"# \S.{,58}[^.:]", about), path
        verb = "pretrain" if path.stem == "pretrain" else "train"
        assert command.startswith(f"#   p5mm {verb} {path.stem} --data "), path


def test_the_rooms_of_readme_are_those_that_the_linter_orders():
    settings = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in settings if contract["type"] == "layers")
    rooms = [
        layer for layer in reversed(layers) if (ROOT / "p5mm" / layer / "__init__.py").is_file()
    ]
    listed = re.findall(r"^    ((?:p5mm/)?[a-z]+)/ {2,}\S", read(ROOT / "README.md"), re.MULTILINE)
    assert [room.removeprefix("p5mm/") for room in listed] == rooms
    assert all((ROOT / room / "__init__.py").is_file() for room in listed)


def test_make_names_what_there_is():
    makefile = read(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    for page in PAGES:
        for name in re.findall(r"`make ([a-z-]+)", read(page)):
            assert name in targets, f"{page.name}: make {name}"
    for loop in re.findall(r"for name in ([a-z_ ]+);", makefile):
        for name in loop.split():
            assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name
