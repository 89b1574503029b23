"""The command line as a user types it."""

from collections.abc import Callable

import pytest

from p5mm.commands.main import main


@pytest.fixture
def wrong_use(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must end with exit code 2, and gives its message."""

    def refused(*arguments: object) -> str:
        try:
            code: object = main([str(one) for one in arguments])
        except SystemExit as error:  # of argparse
            code = error.code
        assert code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        return err

    return refused
