"""Words of the command line: what a page shows so that somebody can make a result again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class RecordedCommand:
    """The words that a result was made by, and what they cannot say."""

    words: list[str]
    stages: list[str]  # embed, search, evaluate
    gone: list[str]  # settings that were recorded and exist no longer

    def lines(self, *more: str) -> list[str]:
        """A shell line for each stage.

        Args:
            more: further words; each takes the place of a recorded word for the same setting.
        """
        replaced = {word.partition("=")[0] for word in more}
        words = [word for word in self.words if word.partition("=")[0] not in replaced]
        return [shlex.join(["m3eval", stage, *words, *more]) for stage in self.stages]
