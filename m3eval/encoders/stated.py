"""What a checkpoint in sentence-transformers' layout says of its pooling and its prefixes."""

from __future__ import annotations

from pathlib import Path

from m3eval.encoders.encoder import Prefixes
from m3eval.encoders.examination import read_object
from m3eval.encoders.heads.dense import Pooling
from m3eval.encoders.modules import FLAGS, POOLINGS, pooling_modes
from m3eval.encoders.prompts import own_prompts
from m3eval.errors import UserError
from m3eval.files import write_json

POOLING, PROMPTS = "1_Pooling/config.json", "config_sentence_transformers.json"
LIBRARY = "sentence_transformers.models"


def stated_pooling(folder: Path, otherwise: Pooling = "cls") -> Pooling:
    """The pooling of a checkpoint, by its 1_Pooling/config.json.

    Args:
        folder: of the checkpoint.
        otherwise: where it has no such file.

    Raises:
        UserError: the file cannot be read, or states no pooling that m3eval computes, or several.
    """
    path = folder / POOLING
    if not path.exists():
        return otherwise
    modes = pooling_modes(read_object(path))
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UserError(
            f"{path} says {' and '.join(modes)}: m3eval computes one of {', '.join(POOLINGS)}."
        )
    return POOLINGS[modes[0]]


def stated_prefixes(folder: Path) -> Prefixes:
    """What stands before queries and before documents, by the checkpoint's prompts.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / PROMPTS
    own = own_prompts((read_object(path).get("prompts") or {}) if path.exists() else {})
    return {"query": own["query"] or "", "document": own["document"] or ""}


def state(
    folder: Path, width: int, pooling: Pooling, prefixes: Prefixes, modules: bool = True
) -> None:
    """Writes both into a checkpoint's folder, as sentence-transformers reads them.

    Args:
        folder: of the checkpoint.
        width: numbers of a vector.
        pooling: of its dense vectors, which are scaled to length 1.
        prefixes: before queries and before documents.
        modules: list the parts that sentence-transformers puts together; not of a model that it
            cannot build.
    """
    modes = {flag: POOLINGS.get(mode) == pooling for flag, mode in FLAGS.items()}
    write_json(folder / POOLING, {"word_embedding_dimension": width} | modes)
    write_json(folder / PROMPTS, {"prompts": dict(prefixes)})
    if not modules:
        return
    parts = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    write_json(
        folder / "modules.json",
        [
            {
                "idx": i,
                "name": str(i),
                "path": place,
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, (place, kind) in enumerate(parts)
        ],
    )
