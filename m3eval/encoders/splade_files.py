"""What the files of a SPLADE checkpoint say of it: neural-cherche's metadata.json, and those of sentence-transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import transformers

from m3eval.benchmarks.texts import Role
from m3eval.encoders.sentence_transformers import own_prompts
from m3eval.errors import UserError
from m3eval.files import read_json

Pooling = Literal["max", "sum"]
K = int | Literal["auto"] | None
LOGARITHMS = {
    "relu": 1,
    "log1p_relu": 2,
}  # activation_function -> how often log(1 + x) is taken after the ReLU
TRANSFORMERS = (
    "Transformer",
    "MLMTransformer",
)  # as versions 6 and 5 call a module with a language model's head


@dataclass(frozen=True)
class Stated:
    """What a checkpoint of sentence-transformers says of its SPLADE; as it stands here, one that says nothing."""

    pooling: Pooling | None = None
    activation: str = "relu"
    max_active_dims: int | None = None  # terms that a text keeps; None: all
    prefixes: dict[Role, str] = field(default_factory=lambda: {"query": "", "document": ""})


def stated(folder: Path) -> Stated:
    """Reads modules.json and what it names.

    Raises:
        UserError: files are missing, the checkpoint is not SPLADE alone, or it is computed in a way that is not done here.
    """
    if not (folder / "modules.json").exists():
        return Stated()

    def read(name: str) -> dict[str, Any]:
        return read_json(folder / name) if (folder / name).exists() else {}

    modules = [
        (module["type"].rpartition(".")[2], module["path"])
        for module in read_json(folder / "modules.json")
    ]
    (first, place), *rest = modules or [("nothing", "")]
    if first not in TRANSFORMERS or place or [kind for kind, _ in rest] != ["SpladePooling"]:
        found = ", ".join(kind for kind, _ in modules)
        raise UserError(
            f"{folder} consists of {found} (modules.json). Encoder splade computes a language model that lies in the folder "
            "itself, with SpladePooling behind it, for queries as for documents: choose encoder=sentence_transformers."
        )
    path = folder / rest[0][1] / "config.json"
    if not path.exists():
        raise UserError(
            f"{path} is missing, which says how {folder} pools: copy it from where the checkpoint is from."
        )
    pooling, model, text = (
        read_json(path),
        read("config_sentence_transformers.json"),
        read("sentence_bert_config.json"),
    )
    found = [  # with the library's defaults, and what is done here
        ("pooling_strategy", pooling.get("pooling_strategy", "max"), ["max", "sum"]),
        ("activation_function", pooling.get("activation_function", "relu"), list(LOGARITHMS)),
        ("similarity_fn_name", model.get("similarity_fn_name") or "dot", ["dot"]),
        ("do_lower_case", text.get("do_lower_case", False), [False]),
    ]
    if other := [
        f"{key}={value} (splade does {', '.join(map(str, done))})"
        for key, value, done in found
        if value not in done
    ]:
        raise UserError(
            f"{folder} says {' and '.join(other)}: choose encoder=sentence_transformers."
        )
    return Stated(
        found[0][1],
        found[1][1],
        model.get("max_active_dims"),
        own_prompts(model.get("prompts") or {}),
    )


def framing(
    folder: Path,
    k_tokens: dict[str, K],
    query_prefix: str,
    document_prefix: str,
    n_mask_tokens: int | str,
    own: Stated | None = None,
) -> dict[str, Any]:
    """What stands around texts and how many terms stay: as given or, where that says auto, as the checkpoint says.

    Args:
        folder: of the checkpoint; neural-cherche's has a metadata.json.
        k_tokens: query and document -> how many terms stay; None: all; or auto, as may be the next three.
        query_prefix: before every query.
        document_prefix: before every document.
        n_mask_tokens: masks behind every text.
        own: what a checkpoint of sentence-transformers says; None: nothing.

    Returns:
        prefixes, suffixes and k_tokens, each of query and document.

    Raises:
        UserError: the settings are incomplete, or the file prescribes what is not done here.
    """
    path = folder / "metadata.json"
    file = read_json(path) if path.exists() else {}
    if file.get("add_special_tokens", True) is not True or file.get("truncation", True) is not True:
        raise UserError(f"{path}: texts without special tokens, or uncut, are not supported.")
    roles = {"query": "query", "document": "document"}  # ours -> its
    if set(k_tokens) != set(roles):
        raise UserError(
            f"encoder.k_tokens={k_tokens}: give query and document a number, null or auto."
        )
    own = own or Stated()
    prefixes = {"query": query_prefix, "document": document_prefix}
    prefixes = {
        role: file.get(f"{its}_prefix", own.prefixes[role])
        if prefixes[role] == "auto"
        else prefixes[role]
        for role, its in roles.items()
    }
    counts = {
        role: file.get(f"max_length_{its}", own.max_active_dims)
        if k_tokens[role] == "auto"
        else k_tokens[role]
        for role, its in roles.items()
    }
    for role, k in counts.items():
        if k is not None and k < 1:
            raise UserError(f"encoder.k_tokens.{role}={k}: at least one term must stay.")
    # Its first version wrote the lengths only, and had three masks like the later ones.
    masks = (
        (file.get("n_mask_tokens", 3) if file else 0) if n_mask_tokens == "auto" else n_mask_tokens
    )
    mask = transformers.AutoTokenizer.from_pretrained(folder).mask_token if masks else ""
    if mask is None:
        raise UserError(
            f"{folder}: the tokeniser has no mask token, encoder.n_mask_tokens={masks} cannot be."
        )
    suffix = f" {' '.join([mask] * masks)}" if masks else ""
    return {"prefixes": prefixes, "suffixes": dict.fromkeys(roles, suffix), "k_tokens": counts}
