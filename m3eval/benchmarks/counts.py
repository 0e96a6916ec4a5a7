"""Whether a benchmark is the published one: its numbers of texts, its ends and its length."""

from __future__ import annotations

from m3eval.benchmarks.landing import Landing
from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import TextRules
from m3eval.content import Content
from m3eval.errors import UserError

# Those who counted characters joined title and text by a space and stripped what they joined, which
# is a character or two of a document. A file of another version, or one decoded wrongly, is more.
SLACK = 0.01


def compare_counts(task: Task, documents: int, subset: bool) -> str | None:
    """Compares the counts of one language with those that its authors published.

    Args:
        task: the language; its queries are counted here.
        documents: the number of documents that a census counted.
        subset: whether the user declared the benchmark to be a subset.

    Returns:
        A remark for headings, such as "sw: 9 documents of 10 published". None if every count that
        is published agrees.

    Raises:
        UserError: a count differs and no subset was declared.
    """
    counts = [
        ("documents", documents, task.corpus.published),
        ("queries", len(task.queries), task.published_queries),
    ]
    differing = [
        f"{n:,} {what} of {published:,}"
        for what, n, published in counts
        if published is not None and n != published
    ]
    if not differing:
        return None
    remark = f"{task.language}: {' and '.join(differing)} published"
    if not subset:
        raise UserError(
            f"{remark}. Scores on another number of texts cannot be compared with published ones. "
            "Fetch the missing files again; or, if you want a part of the benchmark, set "
            "benchmark.subset=true, and every table says that it is a subset."
        )
    return remark


def compare_landing(
    task: Task, documents: Census, queries: Census, rules: TextRules, subset: bool
) -> str | None:
    """Compares the ends and the length of one language's texts with what is published of them.

    Args:
        task: the language.
        documents: what is in its corpus.
        queries: what is in its queries.
        rules: how texts were made of documents.
        subset: whether the user declared the benchmark to be a subset.

    Returns:
        A remark for headings. None if all that is published agrees.

    Raises:
        UserError: something differs and no subset was declared.
    """
    of_corpus = task.corpus.landing
    fields = {"title", "text"} if of_corpus.titles else {"text"}
    counted = rules.normalize == "none" and fields <= {*rules.document_fields}
    differing = [
        *_missed("document", of_corpus, documents.content, counted),
        *_missed("query", task.landing, queries.content, False),
    ]
    if not differing:
        return None
    remark = f"{task.language}: {', '.join(differing)}"
    if not subset:
        raise UserError(
            f"{remark}. These are not the published texts, or not in their order. Fetch the files "
            "again; or, if you want others, set benchmark.subset=true, and every table says that "
            "it is a subset."
        )
    return remark


def _missed(what: str, published: Landing, found: Content, counted: bool) -> list[str]:
    """Where texts are not at the published points, in words.

    Args:
        what: document or query.
        published: the points.
        found: what is in the text set.
        counted: whether its characters are those that were counted.
    """
    ends = (("first", found.first, published.first), ("last", found.last, published.last))
    differing = [
        f"the {place} {what} is {here!r}, published is {there!r}"
        for place, here, there in ends
        if there is not None and here != there
    ]
    stated = published.characters
    if counted and stated and abs(found.characters - stated) > SLACK * stated:
        differing.append(
            f"{what} texts have {found.characters:,} characters in all, published are {stated:,}"
        )
    return differing
