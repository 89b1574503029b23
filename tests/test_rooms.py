"""The house: rooms of a size that a newcomer can take in, and tests that mirror them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("encoders", "fusion", "retrieval")
pytestmark = pytest.mark.skipif(
    not (ROOT / "p5mm" / "commands").is_dir(), reason="needs the checkout"
)


def rooms():
    """Every package, by the folder that holds its files."""
    inside = [path.parent for path in (ROOT / "p5mm").rglob("__init__.py")]
    real = [
        folder for folder in inside if not any(p.is_symlink() for p in (folder, *folder.parents))
    ]
    linked = [path.parent for name in LINKED for path in (ROOT / name).rglob("__init__.py")]
    return [*real, *linked]


def modules():
    return [path for room in rooms() for path in sorted(room.glob("*.py"))]


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("room", rooms(), ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_has_few_files_and_says_what_it_is_for(room):
    assert len(list(room.glob("[!_]*.py"))) <= 14
    about = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert about is not None
    assert about.split("\n")[0].endswith(".")


def test_files_and_functions_are_short():
    assert {
        str(path): n for path in modules() if (n := len(path.read_text().split("\n"))) > 401
    } == {}
    long = {
        f"{path.name}:{node.name}": length
        for path in modules()
        for node in functions(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > 80
    }
    assert long == {}


def test_every_folder_of_tests_is_a_room():
    known = {str(room.relative_to(ROOT)).removeprefix("p5mm/") for room in rooms()}
    folders = [path for path in (ROOT / "tests").rglob("*") if path.is_dir()]
    named = {
        str(path.relative_to(ROOT / "tests")) for path in folders if any(path.glob("test_*.py"))
    }
    assert named <= {*known, "examples"}


def test_only_the_commands_and_the_demo_print():
    told = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        if path.parent.name not in ("commands", "upkeep", "demo") and path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert told == []
