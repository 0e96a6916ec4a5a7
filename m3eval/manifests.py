"""What things were made of, as files record it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m3eval.files import read_json

# Keys that records of earlier versions have, and what they are called now.
RENAMED = {
    "passage": "document",
    "passage_fields": "document_fields",
    "passage_prefix": "document_prefix",
    "max_passage_length": "max_document_length",
    "published_passages": "published_documents",
}


def renamed(record: Any) -> Any:
    """A record with the keys of today."""
    if isinstance(record, dict):
        return {RENAMED.get(key, key): renamed(value) for key, value in record.items()}
    return [renamed(value) for value in record] if isinstance(record, list) else record


def read_record(path: Path) -> Any:
    """A JSON record of this version or an earlier one."""
    return renamed(read_json(path))
