"""``python -m asa`` is the command ``asa``."""

import sys

from asa.cli import main

if __name__ == "__main__":
    sys.exit(main())
