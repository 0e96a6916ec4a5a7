"""Do judgements belong to the queries and documents that they speak of?"""

from __future__ import annotations

from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.task import Task
from m3eval.errors import UserError


def belonging(task: Task, corpus: Census) -> list[str]:
    """What the judgements of a language speak of that is not there: a sentence each.

    Args:
        task: has queries and judgements.
        corpus: what reading the documents found, with `task.relevant` among the ids looked for.

    Raises:
        UserError: there are no judgements; or none of the judged queries, or none of the relevant
            documents, is there.
    """
    if not task.judged:
        raise UserError(
            f"{task.language}: there is no judgement at all: a score needs at least one judged "
            "query."
        )
    asked, relevant = {query.qid for query in task.queries}, task.relevant
    if task.qrels is not None and not relevant:
        raise UserError(
            f"{task.language}: the judgements call no document relevant, so every score would be "
            "0: a grade above 0 does."
        )
    lacking = [qid for qid in task.judged if qid not in asked]
    absent = relevant & corpus.absent
    remarks, some = [], corpus.content.first
    for what, where, missing, number, there in (
        ("judged queries", "among the queries", lacking, len(task.judged), min(asked, default="")),
        ("relevant documents", "in the corpus", sorted(absent), len(relevant), some),
    ):
        if missing and len(missing) == number:
            raise UserError(
                f"{task.language}: not one of {number:,} {what} is {where}: an id in the "
                f"judgements is {missing[0]!r}, one {where} {there!r}. They do not belong "
                "together, or their ids are written differently."
            )
        if missing:
            remarks.append(
                f"{task.language}: {len(missing):,} of {number:,} {what} are not {where}, for "
                f"example {missing[0]}"
            )
    return remarks
