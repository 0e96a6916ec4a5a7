"""The commands of m3eval, as data: what each is called, does and needs."""

from m3eval.commands.table.command import Command
from m3eval.commands.table.results import RESULTS
from m3eval.commands.table.stages import STAGES
from m3eval.commands.table.tools import TOOLS
from m3eval.commands.table.verdicts import VERDICTS

COMMANDS = STAGES + VERDICTS + RESULTS + TOOLS  # in the order of the overview
NAMES = tuple(command.name for command in COMMANDS)

__all__ = ["COMMANDS", "NAMES", "Command"]
