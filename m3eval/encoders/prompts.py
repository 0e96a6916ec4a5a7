"""The prompts that a checkpoint of sentence-transformers names."""

from __future__ import annotations

from collections.abc import Mapping

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import Prefixes

# Names of a role's prompt, in the order in which the library looks for them.
NAMES: dict[Role, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}


def own_prompts(prompts: Mapping[str, str | None]) -> Prefixes:
    """What a checkpoint puts before queries and documents, of the prompts it has by name."""
    return {
        role: next((prompts[name] for name in names if name in prompts), None) or ""
        for role, names in NAMES.items()
    }
