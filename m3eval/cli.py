"""A command line, read and carried out: its options, its words, what they configure, the log."""

from __future__ import annotations

import argparse
import importlib
import itertools
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf.errors import OmegaConfBaseException

from m3eval import __version__, buckets, secrets
from m3eval.commands import help
from m3eval.commands.table import COMMANDS, NAMES, Command
from m3eval.config import Composition, Setup, accept, check, composition, schema, tree
from m3eval.config.checks import refuse
from m3eval.config.words import Word, calls, nearest, read, whole
from m3eval.console import printing, say
from m3eval.errors import UserError, together
from m3eval.oserrors import in_words, writing

DONE, MISTAKE, DEFECT = 0, 2, 3  # exit statuses; 1 is the verdict of gate and verify


@dataclass(frozen=True)
class CommandLine:
    """A command line, read but not carried out."""

    words: list[str]
    several: bool  # -m: a call for each value of comma-separated words
    show: bool  # --cfg job: only print the configuration
    help: bool
    version: bool
    folder: str | None  # --config-dir


def run(arguments: Sequence[str]) -> int:
    """Carries out a command line and returns the exit status; see m3eval/__main__.py."""
    secrets.note_environment()
    secrets.note_words(arguments)
    with printing() as printed:
        status, said = _status(arguments)
        if said:
            say(f"\nError: {said}")
    if printed.refused:  # nobody has read the error either
        lost = f"standard output could not be written: {printed.refused.strerror}."
        with suppress(OSError):  # nor can this be, perhaps
            sys.stderr.write("\n".join([*filter(None, (secrets.masked(said), lost)), ""]))
        return status or MISTAKE
    return status


def _status(arguments: Sequence[str]) -> tuple[int, str]:
    """Carries out a command line: the exit status, and what the user has to mend."""
    try:
        carry_out(arguments)
        return DONE, ""
    except UserError as error:
        return MISTAKE, str(error)
    except SystemExit as verdict:
        return (verdict.code if isinstance(verdict.code, int) else DEFECT), ""
    except Exception as error:
        if said := in_words(error):
            return MISTAKE, str(said)
        sys.stderr.write(secrets.masked(traceback.format_exc()))
        return DEFECT, ""


def carry_out(arguments: Sequence[str]) -> None:
    """Does what a command line says.

    Raises:
        UserError: something in it is wrong, or what the command raises.
    """
    if arguments and arguments[0] == "--version":
        return say(f"m3eval {__version__}")
    if arguments and arguments[0] in ("-h", "--help"):
        return say(help.overview())
    if not arguments:
        raise UserError(f"say what to do.\n\n{help.overview()}")
    command = find(arguments[0], arguments[1:])
    line = parse(arguments[1:])
    with tree.added(line.folder):
        if line.version:
            say(f"m3eval {__version__}")
        elif line.help:
            say(help.of(command))
        else:
            for words in _calls(command, line):
                call(command, words, line.show)
    return None


def find(name: str, words: Sequence[str] = ()) -> Command:
    """The command of a name, before these words.

    Raises:
        UserError: there is none.
    """
    for command in COMMANDS:
        if command.name == name:
            return command.meant(words)
    near = nearest(name, NAMES)
    meant = f"did you mean m3eval {near[0]}? " if near else ""
    raise UserError(f"there is no command {name}: {meant}The commands are {', '.join(NAMES)}.")


def parse(arguments: Sequence[str]) -> CommandLine:
    """Options and words, in any order.

    Raises:
        UserError: an option is unknown or lacks its value.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job"])
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    try:
        options, words = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    if unknown := [word for word in words if word.startswith("-")]:
        name = unknown[0].lstrip("-").partition("=")[0].replace("-", "_")
        raise UserError(
            f"{unknown[0]}: there is no such option. Settings are words: {name}=VALUE. The options "
            "are -m, --cfg job, --config-dir DIR, --help and --version."
        )
    return CommandLine(
        words,
        options.multirun,
        options.cfg is not None,
        options.help,
        options.version,
        options.config_dir,
    )


def call(command: Command, words: Sequence[str], show: bool = False) -> Any:
    """Composes a command's configuration, checks it, writes it to the log, and runs the command.

    Args:
        command: what to do.
        words: setting=value, group=choice.
        show: only print the configuration.

    Returns:
        what the command gives to who calls it from Python, or None.
    """
    own, others = _own(command, words)
    made = composition([*command.fixed, *own], command.config)
    if show:
        refuse(schema.unfit(made.raw))
        say(shown(tree.plain(made.raw, resolve=False)).rstrip())
        return None
    if not command.checked:
        accept(made.cfg)
        return importlib.import_module(command.module).run(Setup(made.cfg, others))
    say(f"m3eval {__version__} · {command.summary}")
    for note in made.notes:
        say(f"note       {note}")
    try:
        setup = check(made.cfg, made.words)
    except OmegaConfBaseException as error:  # a choice of the user's own lacks a setting
        raise UserError(f"The configuration cannot be used: {error}") from error
    log(command, made, setup.output_folder)
    try:
        return importlib.import_module(command.module).run(setup)
    finally:
        for line in buckets.summaries():
            say(line)


def log(command: Command, made: Composition, outputs: Path) -> Path:
    """Writes words and configuration of a call to a folder of its own, secrets masked.

    Args:
        command: what is called.
        made: what the words composed.
        outputs: the folder of all outputs; what logs say stays on this machine.
    """
    logs = outputs / "logs" / command.name
    start = logs / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder, n = start, 1
    while True:
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:  # a call in the same second
            n += 1
            folder = start.with_name(f"{start.name}_{n}")
    line = shlex.join(["m3eval", command.name, *map(secrets.masked_word, made.words)])
    with writing(folder, folder):
        (folder / "config.yaml").write_text(shown(tree.plain(made.cfg)), "utf-8")
        (folder / "command.txt").write_text(secrets.masked(line) + "\n", "utf-8")
    return folder


def shown(config: dict[str, Any]) -> str:
    """A configuration as YAML, secrets masked; references in it stay as they stand."""
    text = yaml.safe_dump(secrets.masked_tree(config), sort_keys=False, allow_unicode=True)
    return secrets.masked(text)


def _calls(command: Command, line: CommandLine) -> Iterator[list[str]]:
    """The words of each call: of one, or with `-m` of several."""
    words = [*whole(named(command, line.words))]
    if not line.several:
        yield words
        return
    for combination in calls(together([lambda word=word: read(word) for word in words])):
        yield [word.text for word in combination]


def named(command: Command, words: Sequence[str]) -> list[str]:
    """The words, those without = as the settings that the command takes so, in their order."""
    if not command.plain:
        return list(words)
    bare = [word for word in words if "=" not in word]
    if command.listed and len(bare) > 1:
        together_in_one = f"{command.plain[0]}=[{','.join(bare)}]"
        return [together_in_one, *(word for word in words if "=" in word)]
    given = {word.partition("=")[0] for word in words if "=" in word}
    left = [name for name in command.plain if name not in given] or [command.plain[-1]]
    plain = iter([*left, *itertools.repeat(left[-1], len(words))])
    return [word if "=" in word else f"{next(plain)}={word}" for word in words]


def _own(command: Command, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words about a command's own settings, and those that it passes on."""
    if not command.passes_on:
        return list(words), []
    own = tree.own_settings(command.config)
    read_words: list[Word] = together([lambda word=word: read(word) for word in words])
    about_own = [word.top in own for word in read_words]
    if not any(word.key == "runs" for word in read_words):  # there is nothing to pass them to
        return list(words), []
    return (
        [word for word, its in zip(words, about_own, strict=True) if its],
        [word.text for word, its in zip(read_words, about_own, strict=True) if not its],
    )
