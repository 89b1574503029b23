"""The errors that users see: what was given, what is allowed, what to type."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given cannot be used; the message says what is allowed and what to type."""


class LeakageError(InputError):
    """A result could not be believed: what is asked for can be seen by what answers."""


def unknown(kind: str, given: str, allowed: Iterable[str]) -> InputError:
    """An error for a name that is not among the allowed ones, with the nearest of them.

    Example:
        >>> str(unknown("fusion", "gaet", ["concat", "gate"]))
        "unknown fusion 'gaet'; did you mean 'gate'? Allowed: concat, gate"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f" did you mean '{near[0]}'?" if near else ""
    shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    return InputError(f"unknown {kind} '{given}';{hint} Allowed: {shown or 'none'}")
