"""`m3eval COMMAND words`, or `python -m m3eval COMMAND words`: the way into m3eval, and out of it.

A command ends with status
    0    when it is done;
    1    when gate or verify found what they look for: scores or values that are not as expected;
    2    when words or files must be mended, which its message says how;
    3    when m3eval itself is broken: then there is a traceback to report;
    130  when it was interrupted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence

from m3eval.errors import UserError

DONE, MISTAKE, DEFECT, INTERRUPTED = 0, 2, 3, 130


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    Args:
        words: the command and its words; None: those of this process.
    """
    try:
        # Imported here, so that an interruption of the imports ends as any other does.
        from m3eval import cli

        cli.main(sys.argv[1:] if words is None else words)
        return DONE
    except UserError as error:
        _say(f"\nError: {error}")
        return MISTAKE
    except KeyboardInterrupt:
        _say("\nInterrupted. Run the same command again: what is finished is kept.")
        return INTERRUPTED
    except SystemExit as verdict:
        return verdict.code if isinstance(verdict.code, int) else DEFECT
    except Exception:
        traceback.print_exc()
        return DEFECT
    finally:
        _flush()


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{line}\n")


def _flush() -> None:
    """Writes out what is left. Where nobody reads it any more (`| head`), that is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
