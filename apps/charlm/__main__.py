"""Entry of ``python -m owl.apps.charlm``."""

import sys

from owl.apps.mnist import INTERRUPTED


def run() -> int:
    """Import and run the command line; a Ctrl-C while the imports still run ends as quietly as a later one."""
    try:
        from owl.apps.charlm.cli import main

        return main()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(run())
