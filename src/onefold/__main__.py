"""The `onefold` program, and `python -m onefold`.

The commands are imported inside of a block that knows an interrupt: their imports take a good part
of a second, in which Ctrl-C would otherwise print a traceback.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, and exit with its status."""
    try:
        from onefold.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; no output was written.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
