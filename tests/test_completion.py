"""The scripts of `m3eval completion`, run by the shells they are for."""

import subprocess

import pytest

from m3eval import cli
from m3eval.commands.completion import candidates, script
from m3eval.commands.table import COMMANDS, NAMES
from m3eval.config import composition
from m3eval.errors import UserError
from tests.needs import needs_program

# What is typed before TAB, and all that may stand there then.
TYPED = {
    "m3eval compl": ["completion"],
    "m3eval run benchmark=demo_": ["benchmark=demo_cross", "benchmark=demo_long"],
    "m3eval embed languages=[ko] encoder=bge_m3_": ["encoder=bge_m3_mcls"],
    "m3eval search benchmark.retr": ["benchmark.retrieval.depth="],
    "m3eval list enc": ["encoders"],
    "m3eval completion z": ["zsh"],
    "m3eval gate lineup=": [],
}


def lines(*command):
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and not found.stderr, found.stderr
    return found.stdout.split()


@pytest.mark.parametrize("breaks", ['" \'=:"', "' '"], ids=["as usual", "without ="])
@pytest.mark.parametrize("typed", TYPED)
def test_bash(typed, breaks):
    """Bash puts into the line what stands behind the last sign of COMP_WORDBREAKS."""
    words = typed.replace("=", " = " if "=" in breaks else "=").split(" ")
    asked = f"""{script("bash")}
        COMP_WORDBREAKS={breaks} COMP_LINE='{typed} more' COMP_POINT={len(typed)}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
        _m3eval; printf '%s\\n' "${{COMPREPLY[@]}}" """
    before = typed.split(" ")[-1].rpartition("=")[0] if "=" in breaks else ""
    assert lines("bash", "-c", asked) == [
        word.removeprefix(f"{before}=") if before else word for word in TYPED[typed]
    ]


@needs_program("zsh", "apt-get install zsh")
@pytest.mark.parametrize("typed", TYPED)
def test_zsh(typed):
    words = typed.split(" ")
    asked = f"""compdef() {{ :; }}; compset() {{ :; }}; _files() {{ :; }}
        compadd() {{ print -l -- ${{(M)${{@[2,-1]}}:#{words[-1]}*}} }}
        {script("zsh")}
        words=({" ".join(f"'{word}'" for word in words)}); CURRENT={len(words)}; _m3eval"""
    assert sorted(lines("zsh", "-f", "-c", asked)) == TYPED[typed]


@needs_program("fish", "apt-get install fish")
@pytest.mark.parametrize("typed", TYPED)
def test_fish(typed, tmp_path):
    """It offers files, too, hence an empty folder."""
    asked = f"{script('fish')}\ncd {tmp_path}; complete -C '{typed}' | string replace -r '\\t.*' ''"
    assert lines("fish", "--no-config", "-c", f"{asked}; true") == TYPED[typed]


def test_what_completes_exists():
    """Every command has its words in every script, and a choice that completes can be chosen."""
    for shell in ("bash", "zsh", "fish"):
        text = script(shell)
        assert all(" ".join(candidates(command)) in text for command in COMMANDS)
        assert all(name in text for name in NAMES)
    (run,) = [command for command in COMMANDS if command.name == "run"]
    composition([next(word for word in candidates(run) if word.startswith("benchmark="))])


def test_another_shell_is_refused():
    with pytest.raises(UserError, match="shell=tcsh: takes bash, zsh or fish"):
        cli.carry_out(["completion", "tcsh"])
