"""Two small heads that bring the vectors of two frozen towers into one space."""

MIN_PAIRS = 50
