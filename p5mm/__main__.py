"""``python -m p5mm`` is the command ``p5mm``."""

import sys

from p5mm.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
