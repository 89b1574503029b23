"""``python -m p5mm`` is the command ``p5mm``."""

import sys

from p5mm.cli import main

if __name__ == "__main__":
    sys.exit(main())
