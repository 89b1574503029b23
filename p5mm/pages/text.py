"""Texts cut to the room that they have."""


def clipped(text: str, width: int) -> str:
    """A text of at most ``width`` characters; an ellipsis stands for what is left out.

    Example:
        >>> clipped("a long name", 6), clipped("short", 6)
        ('a lon…', 'short')
    """
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
