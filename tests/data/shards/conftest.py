"""Tars as others write them, and as nobody should."""

import io
import tarfile

import pytest


@pytest.fixture
def tar(tmp_path):
    """Writes members, by name and bytes or as a TarInfo, into a tar below tmp_path."""

    def write(name, given, form=tarfile.GNU_FORMAT):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=form) as file:
            for member in given.items() if isinstance(given, dict) else given:
                if isinstance(member, tarfile.TarInfo):
                    file.addfile(member)
                else:
                    info = tarfile.TarInfo(member[0])
                    info.size = len(member[1])
                    file.addfile(info, io.BytesIO(member[1]))
        return path

    return write
