"""What the corpora and queries of a configuration are: read once, however many ask."""

from __future__ import annotations

from collections.abc import Collection

from m3eval import __version__
from m3eval.benchmarks import census
from m3eval.benchmarks.counts import compare_counts, compare_landing
from m3eval.benchmarks.judgements import belonging
from m3eval.benchmarks.once import ReadOnce
from m3eval.benchmarks.tally import Census
from m3eval.benchmarks.task import Task
from m3eval.benchmarks.texts import TextSet, document_texts, query_texts, text_sets
from m3eval.config import Setup
from m3eval.console import say
from m3eval.manifests import TextIdentity
from m3eval.records import plain
from m3eval.stages.identity import text_identity


class ReadTexts:
    """What reading found in text sets; `setup.once(ReadTexts)` is that of a configuration."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.readings: dict[tuple[str, frozenset[str]], ReadOnce] = {}
        self.said: set[str] = set()

    def corpus(self, task: Task) -> Census:
        """What is in a language's corpus. Raises UserError where ids are unfit."""
        return self.reading_corpus(task).census()

    def reading_corpus(self, task: Task) -> ReadOnce:
        """The reading of a language's corpus, in which the relevant documents are looked for.

        Languages that share a corpus share it.
        """
        texts = document_texts(task.corpus, self.setup.rules)
        sharing = (each for each in self.setup.tasks if each.corpus.name == task.corpus.name)
        wanted = task.relevant.union(*(each.relevant for each in sharing))
        return self._reading(texts, wanted)

    def queries(self, task: Task) -> Census:
        """What is in a language's queries. Raises UserError where ids are unfit."""
        return self.reading_queries(task).census()

    def reading_queries(self, task: Task) -> ReadOnce:
        """The reading of a language's queries."""
        return self._reading(query_texts(task, self.setup.rules))

    def identities(self, task: Task) -> list[TextIdentity]:
        """What the documents and the queries of a language are, number and hash included."""
        documents, queries = text_sets(task, self.setup.rules)
        return [
            text_identity(self.setup, documents, self.corpus(task)),
            text_identity(self.setup, queries, self.queries(task)),
        ]

    def unlike_published(self, task: Task, subset: bool) -> str | None:
        """In what a language's texts are not the published ones, in words; None: they are.

        Of a part of a set, whose ends are others, only the counts are said.

        Raises:
            UserError: they are not, and no `subset` was declared.
        """
        corpus, queries = self.corpus(task), self.queries(task)
        return compare_counts(task, corpus.content.count, subset) or compare_landing(
            task, corpus, queries, self.setup.rules, subset
        )

    def survey(self, task: Task) -> list[str]:
        """Says how much there is of a language, and what its judgements lack.

        Returns:
            what its judgements speak of that is not there, a sentence each.

        Raises:
            UserError: ids are unfit; counts, ends or lengths are not the published ones; or
                judgements do not belong to queries and documents.
        """
        corpus, queries = self.corpus(task), self.queries(task)
        remark = self.unlike_published(task, self.setup.cfg.benchmark.subset)
        lacking = belonging(task, corpus)
        say(
            f"  {task.language}: {corpus.content.count:,} documents, "
            f"{queries.content.count:,} queries, "
            f"{len(task.judged):,} judged" + (f" (subset: {remark})" if remark else "")
        )
        for texts, found in zip(text_sets(task, self.setup.rules), (corpus, queries), strict=True):
            empty = found.remark(texts.name)
            if empty and empty not in self.said:  # languages may share a corpus
                self.said.add(empty)
                say(empty)
        for sentence in lacking:
            say(f"  {sentence}")
        return lacking

    def _reading(self, texts: TextSet, wanted: Collection[str] = ()) -> ReadOnce:
        key = texts.name, frozenset(wanted)
        if key not in self.readings:
            rules = plain(text_identity(self.setup, texts)) | {"m3eval": __version__}
            place = self.setup.layout.census
            self.readings[key] = census.reading(
                texts, wanted, rules, lambda of: place(texts.name, of)
            )
        return self.readings[key]
