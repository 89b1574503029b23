"""What pyproject says is what the tree holds."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import p5mm

ROOT = Path(__file__).parents[1]
LINKED = ("encoders", "fusion", "retrieval", "configs")

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="tests run away from the checkout"
)


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages():
    """Every folder with modules below p5mm/ and the linked folders, by import name."""
    found = set()
    for top in ("p5mm", *LINKED):
        for folder, below, files in os.walk(ROOT / top):
            below[:] = [b for b in below if b != "__pycache__"]
            if any(f.endswith(".py") for f in files):
                parts = Path(folder).relative_to(ROOT).parts
                found.add(".".join(parts if top == "p5mm" else ("p5mm", *parts)))
    return found


def test_every_package_is_listed_and_exists(project):
    assert set(project["tool"]["setuptools"]["packages"]) == packages()


def test_the_linked_folders_are_links_and_are_mapped(project):
    mapped = project["tool"]["setuptools"]["package-dir"]
    assert mapped == {"p5mm": "p5mm"} | {f"p5mm.{name}": name for name in LINKED}
    for name in LINKED:
        link = ROOT / "p5mm" / name
        assert link.is_symlink()
        assert os.readlink(link) == f"../{name}"


def test_every_package_has_an_init(project):
    for name in project["tool"]["setuptools"]["packages"]:
        assert (ROOT.joinpath(*name.split(".")) / "__init__.py").is_file()


def test_every_data_file_of_the_package_is_shipped(project):
    shipped = project["tool"]["setuptools"]["package-data"]
    for package, folder in (("p5mm", ROOT / "p5mm"), ("p5mm.configs", ROOT / "configs")):
        for path in folder.iterdir():
            if path.is_file() and path.suffix != ".py":
                assert any(path.match(pattern) for pattern in shipped[package]), path


def imported(path):
    """Top modules that a file imports, those that a test would skip without included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
            yield ast.literal_eval(node.args[0]).partition(".")[0]


def test_what_tests_import_is_named(project):
    extras = project["project"]["optional-dependencies"]
    named = [*project["project"]["dependencies"], *(r for of in extras.values() for r in of)]
    known = {canonical(requirement) for requirement in named} | {"p5mm"}
    homes = importlib.metadata.packages_distributions()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for module in set(imported(path)) - sys.stdlib_module_names:
            names = {canonical(name) for name in homes.get(module, [module])}
            assert names & known, f"{path} imports {module}: name {names} in pyproject's dev"


def canonical(requirement):
    """The name of a distribution as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_versions_agree(project):
    assert project["project"]["version"] == p5mm.__version__
    assert importlib.metadata.version("p5mm") == p5mm.__version__


def test_no_relative_imports_and_no_bare_folder_names():
    wrong = re.compile(rf"^\s*(from \.|import ({'|'.join(LINKED)})\b|from ({'|'.join(LINKED)})\b)")
    for top in ("p5mm", *LINKED):
        for path in (ROOT / top).rglob("*.py"):
            for line in path.read_text().splitlines():
                assert not wrong.match(line), f"{path}: {line}"


def test_nothing_of_the_shared_data_is_tracked():
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git checkout")
    assert not [f for f in done.stdout.split() if re.search(r"u\.data$|posters?/|sequential", f)]
