"""What a checkpoint of sentence-transformers says comes after its transformer: modules.json.

Encoders that compute this themselves follow it or refuse it. Prompts are in
config_sentence_transformers.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import Prefixes
from m3eval.encoders.examination import read_object
from m3eval.encoders.heads.dense import Pooling
from m3eval.encoders.prompts import own_prompts
from m3eval.errors import UserError
from m3eval.files import read_json

# As versions 6 and 5 of the library call a module with a language model's head.
TRANSFORMERS = ("Transformer", "MLMTransformer")
# What the library calls ours; and in the files of its versions before 6, a flag for each.
POOLINGS: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Module(NamedTuple):
    """A step of a model of sentence-transformers."""

    kind: str  # its class
    path: str  # its folder within the checkpoint's; empty: that itself


def read_modules(folder: Path) -> list[Module] | None:
    """The steps that modules.json lists; None: there is no such file.

    Raises:
        UserError: it lists none, or in another form.
    """
    path = folder / "modules.json"
    if not path.exists():
        return None
    try:
        return [Module(row["type"].rpartition(".")[2], row["path"]) for row in read_json(path)]
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no list of modules with a type and a path each.") from error


def require_dense(
    folder: Path, pooling: Pooling, normalize: bool, prefixes: Prefixes, settings: bool = True
) -> None:
    """Refuses a folder that says its dense vectors are made otherwise.

    Args:
        folder: of the checkpoint.
        pooling: how states become a vector here.
        normalize: whether vectors are scaled to length 1.
        prefixes: what stands before the texts of each role that the checkpoint reads.
        settings: these are settings that a user can change, and not the family's own way.

    Raises:
        UserError: names everything that the files say otherwise, and the settings that follow them.
    """
    modules = read_modules(folder)
    if modules is None:
        return
    if others := [
        module.kind
        for module in modules
        if module.kind not in (*TRANSFORMERS, "Pooling", "Normalize")
    ]:
        raise UserError(
            f"{folder} has {' and '.join(others)} behind its transformer (modules.json), which is "
            "not computed here: choose encoder=sentence_transformers."
        )
    said = [
        *_pooling(folder, modules, pooling),
        *_length(folder, modules, normalize),
        *_prompts(folder, prefixes),
        *_case(folder),
    ]
    if said:
        sentences = "; ".join(f"{what} ({setting})" if settings else what for what, setting in said)
        remedy = "Set these, or choose" if settings else "Choose"
        raise UserError(
            f"{folder} makes its vectors otherwise: {sentences}. {remedy} "
            "encoder=sentence_transformers, which computes what the folder says."
        )


def pooling_modes(entries: dict[str, Any]) -> list[str]:
    """What a pooling's config.json names, in the words of the library's newest version."""
    modes = entries.get("pooling_mode") or [
        mode for flag, mode in FLAGS.items() if entries.get(flag)
    ]
    return [modes] if isinstance(modes, str) else list(modes) or ["mean"]  # the library's default


def _pooling(folder: Path, modules: list[Module], here: Pooling) -> list[tuple[str, str]]:
    for kind, path in modules:
        if kind != "Pooling":
            continue
        entries = read_object(folder / path / "config.json")
        modes = pooling_modes(entries)
        known = [POOLINGS.get(mode) for mode in modes]
        if known != [here]:
            named = f"encoder.pooling={known[0]}" if len(known) == 1 and known[0] else "no setting"
            return [(f"it pools by {' and '.join(modes)}, here by {here}", named)]
        if entries.get("include_prompt") is False:
            return [("it leaves the prompt out of the pooling", "no setting")]
    return []


def _length(folder: Path, modules: list[Module], here: bool) -> list[tuple[str, str]]:
    unit = any(module.kind == "Normalize" for module in modules)
    similarity = _read(folder).get("similarity_fn_name") or "cosine"  # the library's default
    if unit and not here:
        return [("it scales vectors to length 1", "encoder.normalize=true")]
    if here and not unit and similarity == "dot":
        return [("it compares vectors of any length by dot", "encoder.normalize=false")]
    if similarity not in ("cosine", "dot"):
        return [(f"it compares vectors by {similarity}", "no setting")]
    return []


def _prompts(folder: Path, here: Prefixes) -> list[tuple[str, str]]:
    entries = _read(folder)
    prompts = entries.get("prompts") or {}
    always = prompts.get(entries.get("default_prompt_name")) or ""
    own = own_prompts(prompts)
    said: list[tuple[str, str]] = []
    for role in here:
        expected = own[role] or always
        if expected and expected != here[role]:
            what = f"it puts {expected!r} before a {role}, here stands {here[role]!r}"
            said.append((what, _setting(role, expected)))
    return said


def _case(folder: Path) -> list[tuple[str, str]]:
    entries = _read(folder, "sentence_bert_config.json")
    return [("it lowers the case of texts", "no setting")] if entries.get("do_lower_case") else []


def _setting(role: Role, prefix: str) -> str:
    return f"\"encoder.{role}_prefix='{prefix}'\""


def _read(folder: Path, name: str = "config_sentence_transformers.json") -> dict[str, Any]:
    path = folder / name
    return read_object(path) if path.exists() else {}
