import pytest

from p5mm.demo.folder import DemoFolder, Settings
from p5mm.errors import InputError
from p5mm.files import whole_file


def test_a_folder_is_claimed_once_and_again_by_the_same_settings(tmp_path):
    root = tmp_path / "demo"
    DemoFolder.claim(root, Settings(seed=1))
    (root / "catalog.parquet").touch()
    assert DemoFolder.claim(root, Settings(seed=1)).catalog == root / "catalog.parquet"
    with pytest.raises(InputError, match="--out"):
        DemoFolder.claim(root, Settings(seed=2))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no demo"):
        DemoFolder.claim(tmp_path, Settings())
    with pytest.raises(InputError, match="holds no demo"):
        DemoFolder.claim(tmp_path / "thesis.txt", Settings())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_unknown_data_names_what_there_is():
    with pytest.raises(InputError, match="did you mean 'movies'"):
        Settings(data="movie")


def write_half(path):
    with whole_file(path) as part:
        part.write_text("half")
        raise RuntimeError


def test_a_file_that_fails_is_absent(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(RuntimeError):
        write_half(path)
    assert not path.exists()
    with whole_file(path) as part:
        part.write_text("all")
    assert path.read_text() == "all"
    assert list(tmp_path.iterdir()) == [path]
