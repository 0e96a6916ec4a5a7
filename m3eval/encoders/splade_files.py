"""What the files of neural-cherche and sentence-transformers say of a SPLADE checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import Prefixes
from m3eval.encoders.heads.splade import TermPooling
from m3eval.encoders.modules import TRANSFORMERS, read_modules
from m3eval.encoders.prompts import own_prompts
from m3eval.errors import UserError
from m3eval.files import read_json, write_json
from m3eval.kinds import Count, whole
from m3eval.lazy import transformers

POOLING, METADATA = "1_SpladePooling", "metadata.json"
ROLES: tuple[Role, ...] = ("query", "document")
K = Count | Literal["auto"] | None
Masks = Annotated[int, whole(0)]
# activation_function -> how often log(1 + x) is taken after the ReLU
LOGARITHMS = {"relu": 1, "log1p_relu": 2}


@dataclass(frozen=True)
class Stated:
    """What a checkpoint of sentence-transformers says of its SPLADE; by default nothing."""

    pooling: TermPooling | None = None
    activation: str = "relu"
    max_active_dims: int | None = None  # terms that a text keeps; None: all
    prefixes: Prefixes = field(default_factory=lambda: {"query": "", "document": ""})


def stated(folder: Path) -> Stated:
    """Reads modules.json and what it names.

    Raises:
        UserError: files are missing, the checkpoint is not SPLADE alone, or it is computed in a way
            that is not done here.
    """
    modules = read_modules(folder)
    if modules is None:
        return Stated()
    (first, place), *others = modules or [("nothing", "")]
    if first not in TRANSFORMERS or place or [kind for kind, _ in others] != ["SpladePooling"]:
        kinds = ", ".join(kind for kind, _ in modules)
        raise UserError(
            f"{folder} consists of {kinds} (modules.json). Encoder splade computes a language "
            "model that lies in the folder itself, with SpladePooling behind it, for queries as "
            "for documents: choose encoder=sentence_transformers."
        )
    path = folder / others[0][1] / "config.json"
    if not path.exists():
        raise UserError(
            f"{path} is missing, which says how {folder} pools: copy it from where the checkpoint "
            "is from."
        )
    pooling = {"pooling_strategy": "max", "activation_function": "relu"} | read_json(path)
    model = _read(folder / "config_sentence_transformers.json")
    text = _read(folder / "sentence_bert_config.json")
    settings = [  # with the library's defaults, and what is done here
        ("pooling_strategy", pooling["pooling_strategy"], ["max", "sum"]),
        ("activation_function", pooling["activation_function"], list(LOGARITHMS)),
        ("similarity_fn_name", model.get("similarity_fn_name") or "dot", ["dot"]),
        ("do_lower_case", text.get("do_lower_case", False), [False]),
    ]
    if other := [
        f"{key}={value} (splade does {', '.join(map(str, done))})"
        for key, value, done in settings
        if value not in done
    ]:
        raise UserError(
            f"{folder} says {' and '.join(other)}: choose encoder=sentence_transformers."
        )
    return Stated(
        pooling=pooling["pooling_strategy"],
        activation=pooling["activation_function"],
        max_active_dims=model.get("max_active_dims"),
        prefixes=own_prompts(model.get("prompts") or {}),
    )


def state_splade(folder: Path, own: Stated, prefixes: Prefixes) -> None:
    """Writes what `stated` reads beside a language model, as sentence-transformers does.

    Args:
        folder: of the checkpoint.
        own: how it is computed; its prefixes are not read.
        prefixes: before queries and before documents.
    """
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
            for i, (path, kind) in enumerate(
                (
                    ("", "base.modules.transformer.Transformer"),
                    (POOLING, "sparse_encoder.modules.splade_pooling.SpladePooling"),
                )
            )
        ],
    )
    write_json(
        folder / POOLING / "config.json",
        {"pooling_strategy": own.pooling or "max", "activation_function": own.activation},
    )
    write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "fill-mask",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "token_embeddings",
        },
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "SparseEncoder",
            "prompts": dict(prefixes),
            "similarity_fn_name": "dot",
            "max_active_dims": own.max_active_dims,
        },
    )


@dataclass(frozen=True)
class Frame:
    """What stands around texts, and how many terms of a text stay."""

    prefixes: Prefixes
    suffixes: Prefixes
    k_tokens: dict[Role, int | None]  # None: all

    @property
    def identity(self) -> dict[str, Any]:
        """As an encoder's identity has it."""
        return {"prefixes": self.prefixes, "suffixes": self.suffixes, "k_tokens": self.k_tokens}


def framing(
    folder: Path,
    k_tokens: Mapping[str, K],
    query_prefix: str,
    document_prefix: str,
    n_mask_tokens: Masks | Literal["auto"],
    own: Stated | None = None,
) -> Frame:
    """What stands around texts: as given or, where a setting is auto, as the checkpoint says.

    Args:
        folder: of the checkpoint; neural-cherche's has a metadata.json.
        k_tokens: query and document -> how many terms stay; None: all; or auto, as may be the next
            three.
        query_prefix: before every query.
        document_prefix: before every document.
        n_mask_tokens: masks behind every text.
        own: what a checkpoint of sentence-transformers says; None: nothing.

    Raises:
        UserError: the settings are incomplete, or the file prescribes what is not done here.
    """
    path = folder / METADATA
    file = _read(path)
    if file.get("add_special_tokens", True) is not True or file.get("truncation", True) is not True:
        raise UserError(f"{path}: texts without special tokens, or uncut, are not supported.")
    if set(k_tokens) != set(ROLES):
        raise UserError(
            f"encoder.k_tokens={dict(k_tokens)}: give query and document a number, null or auto."
        )
    own = own or Stated()
    given: Prefixes = {"query": query_prefix, "document": document_prefix}
    prefixes: Prefixes = {
        role: file.get(f"{role}_prefix", own.prefixes[role]) if prefix == "auto" else prefix
        for role, prefix in given.items()
    }
    counts: dict[Role, int | None] = {}
    for role in ROLES:
        k = k_tokens[role]
        counts[role] = file.get(f"max_length_{role}", own.max_active_dims) if k == "auto" else k
    for role, k in counts.items():
        if k is not None and k < 1:
            raise UserError(f"encoder.k_tokens.{role}={k}: at least one term must stay.")
    # Its first version wrote the lengths only, and had three masks like the later ones.
    stated_masks = file.get("n_mask_tokens", 3) if file else 0
    masks = stated_masks if n_mask_tokens == "auto" else n_mask_tokens
    suffix = f" {' '.join([_mask_token(folder, masks)] * masks)}" if masks else ""
    return Frame(prefixes, {"query": suffix, "document": suffix}, counts)


def _mask_token(folder: Path, masks: int) -> str:
    """The tokeniser's mask, from its files where they name it, else as transformers knows it.

    Raises:
        UserError: there is none.
    """
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _read(folder / name).get("mask_token")
        if token:
            return token["content"] if isinstance(token, dict) else token
    token = transformers.AutoTokenizer.from_pretrained(folder).mask_token
    if token is None:
        raise UserError(
            f"{folder}: the tokeniser has no mask token, encoder.n_mask_tokens={masks} cannot be."
        )
    return token


def _read(path: Path) -> dict[str, Any]:
    """A JSON file; nothing where it is missing."""
    return read_json(path) if path.exists() else {}
