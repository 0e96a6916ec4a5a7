"""Answers that go wrong in each way in which a question on a GPU can go wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def well(scene):
    """Answers, and says in which process."""
    yield "first", {"process": os.getpid(), "tflop_per_second": 2.0}
    yield "second", {"below": {"tflop_per_second": 3.0}}


def rates(scene):
    """The card's rate, of which shares are."""
    yield "matrix products", {"fp32": 4.0, "fp16": 8.0}


def raises(scene):
    """Gives a row and fails."""
    yield "before", {"x": 1}
    raise ValueError("a sentence about it")


def contender_fails(scene):
    """As bench/pairs.py ends a script: by a traceback within SystemExit."""
    yield "before", {"x": 1}
    raise SystemExit("m3eval:\nTraceback (most recent call last):\n  ...\nKeyError: 'lost'")


def dies(scene):
    """As CUDA takes a process with it."""
    yield "before", {"x": 1}
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(scene):
    """Never ends, nor does its child, whose number it leaves in the scene's folder."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (Path(scene.folder) / "child").write_text(str(child.pid))
    yield "before", {"x": 1}
    time.sleep(600)
