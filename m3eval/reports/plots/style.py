"""How all pictures look, and how they are written: the same numbers make the same file.

matplotlib is imported when something is drawn. No window and no state of pyplot takes part.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from m3eval.errors import UserError
from m3eval.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["svg", "png"]
# Okabe and Ito's colours, which people who are colour-blind tell apart; black and yellow are left
# out, for one is text and the other too light on white. Form goes on where colours end.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
WORSE, EVEN, BETTER = "#D55E00", "#999999", "#0072B2"
MOST = len(COLOURS)  # systems of one picture
SETTINGS = {
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "svg.hashsalt": "m3eval",  # names within the file, which are random otherwise
    "font.family": ["DejaVu Sans"],  # which matplotlib brings along
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
# Neither the day nor the version of matplotlib stands in a file.
METADATA: dict[Format, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def require_matplotlib() -> None:
    """Raises UserError where it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError("m3eval plot needs a package: pip install 'm3eval[plot]'.") from error


@contextmanager
def drawing() -> Iterator[None]:
    """The settings under which figures are made and written; other figures keep theirs."""
    import matplotlib

    settings: Any = {**matplotlib.rcParamsDefault, **SETTINGS}  # its stubs name every key
    with matplotlib.rc_context(settings):
        yield


def figure(width: float, height: float, title: str, below: str = "") -> Figure:
    """An empty figure, in inches, with a title and, in small letters, what must be known of it."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), facecolor="white")
    lines = [textwrap.fill(line, int(9 * width)) for line in title.split("\n")]
    made.suptitle("\n".join(lines), fontweight="bold", fontsize=11)
    if below:
        made.supxlabel(_wrapped(below, width), fontsize=8)
    return made


def _wrapped(text: str, width: float) -> str:
    """Small letters in lines that a figure of so many inches has room for."""
    return textwrap.fill(text, int(15 * width))


def colour(i: int) -> str:
    """The colour of the i-th system."""
    return COLOURS[i % len(COLOURS)]


def marker(i: int) -> str:
    """The form of the i-th system's marks."""
    return MARKERS[i % len(MARKERS)]


def legend(made: Figure, axes: Axes, labels: Sequence[str], below: str = "") -> None:
    """One legend below the panels, of as many columns as the figure is wide.

    Args:
        made: the figure.
        axes: a panel that has every system.
        labels: of the systems.
        below: what must be known of the picture. It stands over the legend, which takes the place
            at the foot.
    """
    of_label = 0.075 * max(map(len, labels)) + 0.5  # inches
    most = max(1, min(len(labels), math.floor(made.get_figwidth() / of_label)))
    columns = math.ceil(len(labels) / math.ceil(len(labels) / most))  # rows of about one length
    handles, names = axes.get_legend_handles_labels()
    made.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        handlelength=3,
        title=_wrapped(below, made.get_figwidth()) or None,
        title_fontsize=8,
    )


def write(made: Figure, path: Path, formats: Sequence[Format]) -> list[Path]:
    """Writes a figure.

    Args:
        made: the figure.
        path: without an ending.
        formats: one file each.
    """
    written = []
    for kind in formats:
        target = path.with_name(f"{path.name}.{kind}")
        with whole_file(target) as part:
            made.savefig(part, format=kind, dpi=150, metadata=METADATA[kind])
        written.append(target)
    return written
