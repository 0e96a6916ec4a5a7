"""A checkpoint in Hugging Face's layout, whose parts transformers reads when they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from m3eval.encoders.engine.shape import Shape
from m3eval.encoders.engine.weights import from_folder
from m3eval.encoders.examination import examine
from m3eval.errors import UserError
from m3eval.files import read_json
from m3eval.lazy import torch, transformers

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What `moe` in a config says of a checkpoint that clp_moe.py reads, and nothing else.
MIXTURES = ("intermediate", "output")
NUMBER = re.compile(r"\.\d+\.")  # of a layer, in the name of a weight
REMOTE_CODE = (
    " This checkpoint brings its own code (auto_map in its config.json), which m3eval does not run "
    "unless you allow it: read the code, then set encoder.trust_remote_code=true."
)


@dataclass
class Pretrained:
    """A folder with config.json, which is read at once, a fast tokeniser and weights.

    Raises:
        UserError: the folder is not what it says (`examination.examine`), or its config.json
            describes what AutoModel would read wrong: a mixture of experts, or a DPR with a
            projection.
    """

    folder: Path
    # Gives the class that the weights are of; None: transformers' AutoModel finds it by the config.
    # The checkpoint may then hold weights that the class does not use, such as a language model's
    # last layer.
    architecture: Callable[[], type] | None = None
    append_eos: bool = False  # end every text with the end token, a cut one too
    trust_remote_code: bool = False  # run the Python code that the checkpoint brings with it

    entries: dict[str, Any] = field(init=False)  # what config.json says, in its own words

    def __post_init__(self) -> None:
        self.entries = examine(self.folder, self.trust_remote_code)
        if self.architecture is not None:
            return
        if self.entries.get("model_type") == "dpr":
            side_of_dpr(self.entries, self.folder)
        if self.entries.get("moe") in MIXTURES:
            raise UserError(
                f"{self.folder} is a mixture of experts (config.moe={self.entries['moe']}), which "
                f"a plain {self.entries.get('model_type')} would fill with random layers: choose "
                "encoder=clp_moe."
            )

    @property
    def shape(self) -> Shape:
        """Sizes and architecture, from config.json alone where it names them in the usual way."""
        return self._shape

    @cached_property
    def _shape(self) -> Shape:
        try:
            return Shape.of(SimpleNamespace(**self.entries))
        except (AttributeError, TypeError):  # another name, or left to the architecture's default
            return Shape.of(self.config)

    @cached_property
    def config(self) -> transformers.PretrainedConfig:
        """The config as transformers has it. Raises UserError where it cannot read the folder."""
        return self._read(transformers.AutoConfig)

    @property
    def special(self) -> dict[str, int]:
        """Ids of the special tokens cls, eos, pad and unk.

        Raises:
            UserError: there is no padding token.
        """
        known = self._of_transformers
        eos = known.sep_token_id if known.eos_token_id is None else known.eos_token_id
        if known.pad_token_id is None:
            raise UserError(
                f"{self.folder}: the tokeniser has no padding token, without which texts cannot "
                "share a batch."
            )
        return {
            "cls": known.cls_token_id,
            "eos": eos,
            "pad": known.pad_token_id,
            "unk": known.unk_token_id,
        }

    @property
    def tokenizer(self) -> Tokenizer:
        """The fast tokeniser. Raises UserError where there is only a slow one."""
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        _ = self.special  # refuses a tokeniser without padding
        known = self._of_transformers
        tokenizer = known.backend_tokenizer
        keep_case(tokenizer, self.folder)
        require_embeddings(tokenizer, self.shape.vocabulary, self.folder)
        if self.append_eos:
            end_with(tokenizer, known.eos_token, known.eos_token_id)
        return tokenizer

    def load(self, dtype: torch.dtype) -> torch.nn.Module:
        """The transformer with its weights.

        Raises:
            UserError: weights are lacking, or are left over where the architecture was given.
        """
        by_config = self.architecture is None
        part, architecture = None, self.architecture() if self.architecture else None
        if by_config and self.entries.get("model_type") == "dpr":
            kind, part = side_of_dpr(self.entries, self.folder)
            architecture = getattr(transformers, kind)
        options: dict[str, Any] = (
            {"trust_remote_code": True}
            if self.trust_remote_code
            else {"attn_implementation": "sdpa"}
        )
        foreign = by_config and self.entries.get("auto_map")
        model = load_strictly(
            lambda: from_folder(
                architecture or transformers.AutoModel, self.folder, dtype, **options
            ),
            self.folder,
            all_used=not by_config,
            advice=REMOTE_CODE if foreign and not self.trust_remote_code else "",
        )
        return getattr(model, part).bert_model if part else model

    @cached_property
    def _of_transformers(self) -> Any:
        """The tokeniser as transformers has it."""
        tokenizer = self._read(transformers.AutoTokenizer)
        if not tokenizer.is_fast:
            raise UserError(
                f"{self.folder} has only a slow tokeniser ({type(tokenizer).__name__}): add its "
                "tokenizer.json."
            )
        return tokenizer

    def _read(self, kind: Any) -> Any:
        try:
            return kind.from_pretrained(self.folder, trust_remote_code=self.trust_remote_code)
        except Exception as error:  # a damaged tokenizer.json makes its library raise a plain one
            raise UserError(
                f"{self.folder} is not a checkpoint that transformers can read: {error}"
            ) from error


def side_of_dpr(entries: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    """Which model of a DPR pair a checkpoint is; AutoModel does not tell the two apart.

    Args:
        entries: of config.json.
        folder: of the checkpoint.

    Returns:
        Its class in transformers, and the attribute that holds its BERT.

    Raises:
        UserError: it is neither, or a projection follows the BERT.
    """
    sides = {"DPRQuestionEncoder": "question_encoder", "DPRContextEncoder": "ctx_encoder"}
    name = (entries.get("architectures") or ["none"])[0]
    projection = entries.get("projection_dim", 0)
    if name not in sides or projection:
        raise UserError(
            f"{folder} is a DPR checkpoint with architectures={name}, projection_dim={projection}: "
            f"m3eval reads {' and '.join(sides)} without projection."
        )
    return name, sides[name]


def keep_case(tokenizer: Tokenizer, folder: Path) -> None:
    """Keeps upper case where a checkpoint says do_lower_case=false.

    transformers 5 does not heed that in every class of tokenisers (DPR).
    """
    from tokenizers.normalizers import BertNormalizer

    path = folder / "tokenizer_config.json"
    cased = path.exists() and read_json(path).get("do_lower_case") is False
    if cased and isinstance(tokenizer.normalizer, BertNormalizer):
        tokenizer.normalizer.lowercase = False


def end_with(tokenizer: Tokenizer, token: str, number: int) -> None:
    """Makes a tokeniser end every text with a token, which counts when it cuts texts.

    Nothing changes where it does so already.
    """
    from tokenizers import processors

    if tokenizer.encode("a").ids[-1] == number:
        return
    last = processors.TemplateProcessing(
        single=f"$A {token}", pair=f"$A $B {token}", special_tokens=[(token, number)]
    )
    before = tokenizer.post_processor
    tokenizer.post_processor = last if before is None else processors.Sequence([before, last])


def load_strictly(
    load: Callable[[], Any],
    folder: Path,
    all_used: bool = False,
    advice: str = "",
) -> torch.nn.Module:
    """Loads a model and refuses weights that transformers would otherwise draw at random.

    Args:
        load: gives a model, and a dict of what transformers says of its loading.
        folder: of the checkpoint.
        all_used: refuse also weights that the model has no use for.
        advice: what else to say where weights are lacking.

    Raises:
        UserError: names the weights that the checkpoint lacks. The pooler of BERT-like models may
            be absent: no representation reads it. Or it holds more layers than its config says.
    """
    transformers.utils.logging.disable_progress_bar()  # m3eval draws its own
    transformers.utils.logging.set_verbosity_error()  # and says itself what a checkpoint lacks
    try:
        model, info = load()
    except UserError:
        raise
    except Exception as error:  # damaged weights make the libraries raise many kinds
        raise UserError(f"The weights in {folder} cannot be loaded: {error}") from error
    lacking = sorted(
        str(name) for name in info["missing_keys"] if not str(name).startswith("pooler.")
    )
    lacking += sorted(str(entry) for entry in info["mismatched_keys"])
    if lacking:
        raise UserError(
            f"{folder} lacks {len(lacking)} weights of a {type(model).__name__}, for example "
            f"{lacking[:3]}: the file is incomplete or of another architecture.{advice}"
        )
    if left_out := layers_left_out(model, map(str, info["unexpected_keys"])):
        raise UserError(
            f"{folder} holds weights of layers that its config.json leaves out, for example "
            f"{left_out[0]}: config and weights do not belong together."
        )
    if all_used and (unused := sorted(map(str, info["unexpected_keys"]))):
        raise UserError(
            f"{folder} holds {len(unused)} weights that a {type(model).__name__} of its config has "
            f"no use for, for example {unused[:3]}: config and weights do not belong together."
        )
    return model


def layers_left_out(model: torch.nn.Module, unused: Iterable[str]) -> list[str]:
    """Of weights that a model did not use, those of layers behind its last.

    ``encoder.layer.7.x`` is one where the model has ``encoder.layer.0.x``. Weights of other parts,
    such as a decoder or a head that the model leaves out, are none.
    """
    numbered = {name: found for name in model.state_dict() if (found := NUMBER.search(name))}
    stacks = tuple({f".{name[: found.start()]}" for name, found in numbered.items()})
    layers = tuple({f".{name[: found.end()]}" for name, found in numbered.items()})
    return sorted(
        name
        for name in unused
        if (found := NUMBER.search(name))
        and f".{name[: found.start()]}".endswith(stacks)
        and not f".{name[: found.end()]}".endswith(layers)
    )


def require_embeddings(tokenizer: Tokenizer, vocabulary: int, folder: Path) -> None:
    """Refuses a tokeniser that gives ids for which a model has no embeddings.

    Raises:
        UserError: says how many tokens each has.
    """
    added = tokenizer.get_added_tokens_decoder()
    tokens = max([tokenizer.get_vocab_size(with_added_tokens=False), *(n + 1 for n in added)])
    if tokens > vocabulary:
        raise UserError(
            f"{folder}: the tokeniser has {tokens:,} tokens, the model embeddings for "
            f"{vocabulary:,}: they do not belong together. Copy the tokeniser of this model."
        )
