"""The errors that users see: what was given, what is allowed, what to type."""

import difflib
import re
from collections.abc import Iterable

_LINE_ENDS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)
LONG = 200  # letters of a wrong name that a message repeats


class InputError(ValueError):
    """What was given cannot be used; the message says what is allowed and what to type."""


class LeakageError(InputError):
    """A result could not be believed: what is asked for can be seen by what answers."""


def shown(text: str) -> str:
    r"""Any text as one line that no terminal or page obeys.

    Line ends and tabs become a space; other control characters (so the beginnings of escape
    sequences), marks that turn the direction of writing, and broken characters become U+FFFD.

    Example:
        >>> shown("green\x1b[31m tea,\nloose")
        'green�[31m tea, loose'
    """
    return _UNSAFE.sub("\ufffd", _LINE_ENDS.sub(" ", text))


def counted(count: int, noun: str, plural: str = "") -> str:
    """So many of something; ``plural`` where it is not the noun with an s.

    Example:
        >>> counted(1, "item"), counted(2_500, "item"), counted(0, "history", "histories")
        ('1 item', '2,500 items', '0 histories')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def unknown(kind: str, given: str, allowed: Iterable[str]) -> InputError:
    """An error for a name that is not among the allowed ones, with the nearest of them.

    Example:
        >>> str(unknown("fusion", "gaet", ["concat", "gate"]))
        "unknown fusion 'gaet'; did you mean 'gate'? Allowed: concat, gate"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" did you mean '{shown(near[0])}'?" if near else ""
    listed = ", ".join(map(shown, names[:20]))
    more = f", ... ({len(names)} in all)" if len(names) > 20 else ""
    told = shown(given[:LONG]) + ("..." if len(given) > LONG else "")
    return InputError(f"unknown {kind} '{told}';{hint} Allowed: {listed + more or 'none'}")
