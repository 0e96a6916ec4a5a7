"""Scripts by which a shell completes the words of m3eval.

They hold commands, settings and choices as lists, so nothing of Python is started at a TAB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from m3eval import __version__
from m3eval.commands.listing import GROUPS
from m3eval.commands.table import COMMANDS, NAMES, Command
from m3eval.config import Setup, tree
from m3eval.config.schema import Format
from m3eval.console import say

OPTIONS = ("--cfg job", "--config-dir", "--help", "--version", "-m")
# Of a setting that is a word without =, what it can be.
PLAIN = {
    "group": [f"{name}s" for name in GROUPS],
    "shell": ["bash", "zsh", "fish"],
    "format": [*get_args(Format)],
}

_BASH = """\
_m3eval() {{
    local line=${{COMP_LINE:0:COMP_POINT}} words
    local word=${{line##*[[:space:]]}}
    if ((COMP_CWORD == 1)); then
        words='{names}'
    else
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    # Bash takes what stands behind the last = for the word.
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{word%"${{word##*=}}"}}"}}")
    fi
    if [[ ${{#COMPREPLY[@]}} == 1 && $COMPREPLY == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}}
complete -o default -F _m3eval m3eval
"""

_ZSH = """\
_m3eval() {{
    local -a found
    if (( CURRENT == 2 )); then
        found=({names})
    else
        case $words[2] in
{cases}
        esac
    fi
    compadd -S '' -- ${{(M)found:#*=}}
    compadd -- ${{found:#*=}}
    if (( CURRENT > 2 )); then
        compset -P '*='
        _files
    fi
}}
compdef _m3eval m3eval
"""


def run(setup: Setup) -> None:
    """Prints the script for a shell."""
    say(script(setup.cfg.shell).rstrip())


def script(shell: str) -> str:
    """What a shell reads to complete the words of m3eval.

    Args:
        shell: bash, zsh or fish.
    """
    head = f"# m3eval {__version__}: completion of words for {shell}\n"
    if shell == "fish":
        return head + "\n".join(_fish()) + "\n"
    form, case = (_BASH, "words='{}'") if shell == "bash" else (_ZSH, "found=({})")
    cases = (
        f"            {command.name}) {case.format(' '.join(candidates(command)))} ;;"
        for command in COMMANDS
    )
    return head + form.format(names=" ".join(NAMES), cases="\n".join(cases))


def candidates(command: Command) -> list[str]:
    """What may follow a command: group=choice, settings that end with =, plain words, options."""
    chosen = [f"{group}={name}" for group in command.groups for name in tree.choices(group)]
    names = dict.fromkeys((*command.settings, *(command.other.settings if command.other else ())))
    settings = [f"{name}=" for name in names if name not in command.plain]
    options = [option.split()[0] for option in OPTIONS]
    plain = [value for name in command.plain for value in PLAIN.get(name, [])]
    return [*plain, *chosen, *settings, *options]


def _fish() -> Iterator[str]:
    """Lines of fish: each command with its summary, and what may follow it."""
    yield "complete -c m3eval -e"
    for command in COMMANDS:
        summary = command.summary.replace("\\", "\\\\").replace("'", "\\'")
        yield f"complete -c m3eval -n __fish_use_subcommand -f -a {command.name} -d '{summary}'"
    for command in COMMANDS:
        after = f"'__fish_seen_subcommand_from {command.name}'"
        yield f"complete -c m3eval -n {after} -a '{' '.join(candidates(command))}'"
