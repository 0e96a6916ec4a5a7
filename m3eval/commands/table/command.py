"""What the table says of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command: `m3eval NAME words`."""

    name: str
    summary: str  # one line
    module: str  # whose run(setup) does the work; imported when the command is chosen
    about: str  # what it does, for its help
    examples: tuple[str, ...]  # words of commands that people start from
    settings: tuple[str, ...]  # keys of help.SETTINGS: what people change
    config: str = "config"  # the file under conf/ that it is composed from
    checked: bool = True  # whether it works with a configuration, which is checked first and logged
    groups: tuple[str, ...] = ("benchmark", "encoder", "retriever", "experiment")
    """Groups of choices that its help names."""
    plain: tuple[str, ...] = ()  # the settings that words without = give, one after the other
    listed: bool = False  # whether several words without = are one list of the only such setting
    fixed: tuple[str, ...] = ()  # words that are always there
    passes_on: bool = False  # whether words about other settings go to the configurations it reads
    other: Command | None = None  # what the name means where a word gives a setting of `asked_by`
    asked_by: tuple[str, ...] = ()

    def meant(self, words: Sequence[str]) -> Command:
        """The command that these words mean: this one, or the other of its name."""
        keys = {word.partition("=")[0] for word in words}
        return self.other if self.other and keys & {*self.other.asked_by} else self
