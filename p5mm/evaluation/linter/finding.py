"""One thing that is wrong with an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from p5mm.errors import LeakageError


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        level: "leak" makes every number worthless; "warning" is harmless here, elsewhere not.
        what: What is wrong, with its extent.
        example: One case of it.
        remedy: What to do.
    """

    level: Literal["leak", "warning"]
    what: str
    example: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.what} ({self.example}); {self.remedy}"


def require_no_leaks(findings: Sequence[Finding]) -> None:
    """Refuse to go on with leaks; warnings pass.

    Raises:
        LeakageError: There is a finding of level "leak"; the message holds all of them.
    """
    leaks = [str(finding) for finding in findings if finding.level == "leak"]
    if leaks:
        raise LeakageError("the evaluation would not be honest\n" + "\n".join(leaks))
