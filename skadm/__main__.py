"""``python -m skadm`` is the command ``skadm``."""

import sys

from skadm.cli import main

if __name__ == "__main__":
    sys.exit(main())
