"""``python -m grasp`` is the command ``grasp``."""

import sys

from grasp.cli import main

if __name__ == "__main__":
    sys.exit(main())
