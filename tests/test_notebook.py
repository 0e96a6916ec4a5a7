"""docs/notebook.ipynb runs, and shows what is committed of it."""

import os
import re
from pathlib import Path

import pytest

from tests.needs import imported

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs/notebook.ipynb"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
POINTS = 1.0  # a processor may move a question by a rank


def shown(cell):
    """The HTML and the texts that a cell shows."""
    for output in cell.get("outputs", []):
        assert output.output_type != "stream", output  # neither warnings nor paths
        data = output.data
        yield data.get("text/html") or data["text/plain"]


def test_the_notebook_runs_and_shows_what_is_committed(tmp_path, monkeypatch):
    nbclient, nbformat = imported("nbclient"), imported("nbformat")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # or it says that it will be the default
    committed, fresh = (nbformat.read(NOTEBOOK, as_version=4) for _ in range(2))
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(fresh, timeout=600, record_timing=False, resources=place).execute()
    if wanted := os.environ.get("NOTEBOOK"):  # make notebook
        nbformat.write(fresh, wanted)
        return
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    of_fresh = [cell for cell in fresh.cells if cell.cell_type == "code"]
    for before, after in zip(cells, of_fresh, strict=True):
        texts, texts_now = list(shown(before)), list(shown(after))
        assert texts_now or "=" in before.source.splitlines()[-1]
        assert [NUMBER.sub("#", text) for text in texts_now] == [
            NUMBER.sub("#", text) for text in texts
        ], "run `make notebook`"
        for text, now in zip(texts, texts_now, strict=True):
            numbers = [float(number) for number in NUMBER.findall(text)]
            assert [float(n) for n in NUMBER.findall(now)] == pytest.approx(numbers, abs=POINTS)
    assert (tmp_path / "outputs/demo/e5_small_q4/scores/scores.json").exists()
