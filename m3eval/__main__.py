"""`m3eval COMMAND words`, or `python -m m3eval COMMAND words`: the way into m3eval, and out of it.

A command ends with status
    0    when it is done;
    1    when gate or verify found what they look for: scores or values that are not as expected;
    2    when words or files must be mended, and its message says how;
    3    when m3eval itself is broken: then there is a traceback to report;
    130  when it was interrupted.
"""

from __future__ import annotations

import sys
from contextlib import suppress

# Nothing more is imported here: an interruption of an import ends with a traceback, but in `main`.
INTERRUPTED = 130


def main(words: list[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    Args:
        words: the command and its words; None: those of this process.
    """
    try:
        from m3eval import cli

        return cli.run(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        said = "\nInterrupted. Run the same command again: what is finished is kept.\n"
        with suppress(OSError):  # nobody reads it
            sys.stdout.write(said)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
