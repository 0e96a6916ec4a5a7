"""The process that answers one question: python -m bench.gpu.answer MODULE:FUNCTION SCENE FILE.

SCENE is a `scene.Scene` as JSON. Every row is a line of FILE as soon as it is known, so that what
is known stays when the process ends before it is through.
"""

from __future__ import annotations

import json
import sys
import traceback
from importlib import import_module
from pathlib import Path

from bench.gpu.scene import Answer, Scene
from bench.measure import say
from m3eval.lazy import torch


def main(answer: str, scene: str, file: str) -> int:
    """Answers; status 1 where that fails, with the reason as the last line of the file."""
    module, function = answer.split(":")
    with Path(file).open("a", encoding="utf-8") as lines:

        def write(name: str, figures: object) -> None:
            lines.write(json.dumps([name, figures]) + "\n")
            lines.flush()

        try:
            here = Scene(**json.loads(scene))
            if ":" in here.device:
                torch.cuda.set_device(here.device)
            asked: Answer = getattr(import_module(module), function)
            for name, figures in asked(here):
                write(name, figures)
                say(f"  {name}: {json.dumps(figures)}")
        except (Exception, SystemExit) as error:  # a contender that fails ends a script
            traceback.print_exc()
            write("error", in_a_line(error))
            return 1
    return 0


def in_a_line(error: BaseException) -> str:
    """What went wrong: of a traceback that it holds, the last line."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[-1]}" if said else type(error).__name__


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
