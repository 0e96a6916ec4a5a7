"""Runs as they were written: what is damaged or exchanged is made again, or refused by name."""

from __future__ import annotations

import json
import shutil

import pytest

from m3eval.__main__ import main
from m3eval.errors import UserError
from m3eval.layout import RunFiles
from m3eval.retrievers import finished
from tests.conftest import DONE


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


def negated(content: bytes) -> bytes:
    """The scores of a run with another sign, so that its lists stand on their heads."""
    rows = [line.split(b" ") for line in lines_of(content)]
    return b"".join(b" ".join([*row[:4], b"-" + row[4], row[5]]) for row in rows)


def flipped(content: bytes) -> bytes:
    """One bit of the byte in the middle is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


# How a file of a run is damaged. All of these were scored once, without a word.
DAMAGE = {
    "emptied": lambda content: b"",
    "cut at a line end": lambda content: b"".join(lines_of(content)[:-3]),
    "without a line": lambda content: b"".join(lines_of(content)[:5] + lines_of(content)[6:]),
    "a line twice": lambda content: content + lines_of(content)[-1],
    "a bit flipped": flipped,
    "lines swapped": lambda content: b"".join(reversed(lines_of(content))),
}
CASES = [
    *(("sparse", ".trec", name) for name in (*DAMAGE, "negated", "removed")),
    *(("dense_sparse", ".components.tsv", name) for name in (*DAMAGE, "removed")),
    *(("sparse", ".json", name) for name in ("emptied", "a bit flipped", "removed")),
]


@pytest.mark.parametrize(("retriever", "suffix", "name"), CASES)
def test_what_is_damaged_is_refused_by_name_and_stage_1_makes_it_again(
    again, retriever, suffix, name, capsys
):
    folder = again("evaluate", "languages=[sw]")
    run = RunFiles(folder / f"runs/{retriever}/sw.trec")
    path = run.trec.with_name(f"sw{suffix}")
    whole = path.read_bytes()
    if name == "removed":
        path.unlink()
    else:
        path.write_bytes((DAMAGE | {"negated": negated})[name](whole))
    for words in (["evaluate"], ["gate", "gate.write=true", "gate.file=never.yaml"]):
        with pytest.raises(UserError, match=rf"{retriever}/sw\.[a-z.]+ .*`m3eval search`"):
            again(*words, "languages=[sw]", *([] if words[0] == "evaluate" else [DONE]))
    with pytest.raises(UserError, match=rf"{retriever}/sw"):
        finished.read_run(run, None)
    capsys.readouterr()
    again("search")
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines() if "  written" in line] == [str(run.trec)]
    assert ("made again: " in out) is (name != "removed" or suffix != ".json")
    assert path.read_bytes() == whole
    again("evaluate")


def test_a_run_in_the_place_of_another_is_refused(again):
    """Either file is whole; but the one was not written with the other."""
    folder = again("evaluate")
    for suffix in (".trec", ".json"):
        shutil.copy(folder / f"runs/sparse/sw{suffix}", folder / f"runs/dense/sw{suffix}")
        with pytest.raises(UserError, match="dense/sw.trec (is damaged|was made with other)"):
            again("evaluate")


def test_a_hybrid_does_not_build_on_a_damaged_run(again, capsys):
    folder = again("evaluate")
    whole = (folder / "runs/dense_sparse/sw.trec").read_bytes()
    dense = folder / "runs/dense/sw.trec"
    dense.write_bytes(negated(dense.read_bytes()))
    (folder / "runs/dense_sparse/sw.json").unlink()
    again("search")
    assert (folder / "runs/dense_sparse/sw.trec").read_bytes() == whole


def test_a_run_without_seals_is_made_again_and_before_that_refused(again, capsys):
    """As earlier versions wrote it."""
    folder = again("evaluate")
    run = RunFiles(folder / "runs/dense/sw.trec")
    manifest = json.loads(run.manifest.read_text())
    del manifest["files"], manifest["sealed"]
    run.manifest.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"dense/sw.trec has no seal, .* `m3eval search` makes"):
        again("evaluate")
    capsys.readouterr()
    assert main(["info", str(run.trec)]) == 0
    assert "not sealed: an earlier version made" in capsys.readouterr().out
    again("search")
    assert "made again: The run" in capsys.readouterr().out
    again("evaluate")


def test_components_of_an_earlier_run_of_that_name_do_not_stay(again):
    folder = again("evaluate")
    stale = folder / "runs/dense/sw.components.tsv"
    stale.write_text("qid\tdocid\tx\n")
    assert finished.read_components(RunFiles(folder / "runs/dense/sw.trec")) == {}
    again("search", "overwrite=true")
    assert not stale.exists()


def test_every_file_is_read_whole_on_demand(again, capsys):
    folder = again("evaluate")

    def check(path) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["info", str(path), "check=true"])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    published = folder.parents[1] / "published"  # as results are laid out: names, not stages
    shutil.copytree(folder / "scores", published / "bge_m3")
    (published / "notes.json").write_text("{}")
    parts = (folder / "stores/corpus-sw", folder / "runs", folder / "runs/dense", folder / "scores")
    for path in (folder, *parts, folder.parent, published, published.parent):
        status, said = check(path)
        assert status == 0 and "whole" in said and "damaged" not in said, path
    assert check(folder.parents[1])[1].count("whole") == 12
    (folder / "runs/dense/sw.trec").unlink()
    for path in (
        folder / "runs/sparse/yo.trec",
        folder / "scores/per_query.csv",
        *(folder / "stores/corpus-sw").rglob("dense.npy"),
    ):
        path.write_bytes(flipped(path.read_bytes()))
    status, said = check(folder)
    assert status == 2 and "4 of 11 are damaged" in " ".join(said.split())
    for name in ("runs/dense/sw.trec", "runs/sparse/yo.trec", "per_query.csv", "dense.npy"):
        assert f"{name} is damaged" in said
    assert check(folder / "runs/dense/yo.trec")[0] == 0
    assert check(folder / "runs/dense/sw.json")[0] == 2


@pytest.mark.parametrize("name", ["scores.md", "scores.csv", "per_query.csv", "scores.json"])
def test_an_edited_table_is_refused(again, name, capsys):
    folder = again("evaluate")
    path = folder / "scores" / name
    path.write_text(path.read_text().replace("0", "9", 1))
    capsys.readouterr()
    assert main(["info", str(folder / "scores")]) == 2
    said = capsys.readouterr().out
    assert f"{name} is damaged" in said and "Run `m3eval evaluate` again" in said
    again("evaluate")
    assert main(["info", str(folder / "scores")]) == 0
    assert "state      as it was written" in capsys.readouterr().out
    # Results of earlier versions have no seals.
    scores = folder / "scores/scores.json"
    content = json.loads(scores.read_text())
    del content["files"], content["sealed"]
    scores.write_text(json.dumps(content))
    assert main(["info", str(folder / "scores")]) == 0
    assert "not sealed: an earlier version made it" in capsys.readouterr().out


def test_a_table_that_was_left_out_is_said_and_no_damage(again, tmp_path, capsys):
    folder = again("evaluate")
    published = tmp_path / "published"
    shutil.copytree(folder / "scores", published)
    (published / "per_query.csv").unlink()
    capsys.readouterr()
    assert main(["info", str(published), "check=true"]) == 0
    said = capsys.readouterr().out
    assert "in part" in said and "scores.json is without per_query.csv" in said
    assert main(["info", str(published)]) == 0
    assert "as it was written, without per_query.csv" in capsys.readouterr().out
    assert main(["site", f"results=[{published}]", f"out={tmp_path / 'site'}"]) == 0
    # What is left must be as it was written.
    (published / "scores.csv").write_text("metric,language\n")
    capsys.readouterr()
    assert main(["info", str(published), "check=true"]) == 2
    assert main(["site", f"results=[{published}]", f"out={tmp_path / 'site2'}"]) == 2


def test_the_site_refuses_an_edited_result(again, tmp_path, capsys):
    folder = again("evaluate")
    words = ["site", f"results=[{folder / 'scores'}]", f"out={tmp_path / 'site'}"]
    assert main(words) == 0
    assert "not sealed" not in capsys.readouterr().out
    scores = folder / "scores/scores.json"
    scores.write_text(scores.read_text().replace('"unit": "x 100', '"unit": "x 1000'))
    capsys.readouterr()
    assert main(words) == 2
    assert "scores.json is damaged" in capsys.readouterr().out
    content = json.loads(scores.read_text())
    del content["files"], content["sealed"]
    scores.write_text(json.dumps(content))
    assert main(words) == 0
    assert "not sealed, for earlier versions made them: " in capsys.readouterr().out
