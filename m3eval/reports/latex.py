"""LaTeX tables for papers, which include them by their input command. They need booktabs."""

from __future__ import annotations

from collections.abc import Sequence

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
}
PREAMBLE = "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}"


def escape(text: str) -> str:
    """Text in which every character that LaTeX would act on is printed as itself."""
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], caption: str, notes: Sequence[str] = ()
) -> str:
    """A floating table: the first column to the left, all others to the right.

    Args:
        header: names of the columns, plain text.
        rows: cells that are LaTeX already.
        caption: plain text.
        notes: lines below the table, LaTeX already.
    """
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        " & ".join(map(escape, header)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\smallskip {note}" for note in notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
