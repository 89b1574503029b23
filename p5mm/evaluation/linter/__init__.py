"""The leakage linter: what makes an evaluation worthless is refused, the rest is a warning."""
