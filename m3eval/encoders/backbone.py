"""Tokeniser and transformer: texts -> token ids -> last hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, processors
from tokenizers.normalizers import BertNormalizer

from m3eval.encoders import packed, reference
from m3eval.encoders.execution import Pack, to_device
from m3eval.encoders.linear import for_cpu
from m3eval.encoders.tokenization import Tokenization
from m3eval.errors import UserError
from m3eval.files import read_json
from m3eval.runtime import Runtime

MOE = (
    "intermediate",
    "output",
)  # what `moe` in a config says of a checkpoint that clp_moe.py reads, and nothing else
REMOTE_CODE = (
    " This checkpoint brings its own code (auto_map in its config.json), which m3eval does not run unless you allow it: read "
    "the code, then set encoder.trust_remote_code=true."
)


class Hidden(NamedTuple):
    """Last hidden states of a pack of B texts with T tokens."""

    rows: np.ndarray  # [B] positions of the texts in the list that was encoded
    lengths: np.ndarray  # [B] int64
    ids: torch.Tensor  # [T] int64
    states: torch.Tensor  # [T, h], in what the model computes

    def on_device(self, array: np.ndarray) -> torch.Tensor:
        """A host array beside the states."""
        return to_device(array, self.states.device)


@dataclass
class Backbone:
    """A tokeniser and a model that is loaded when first needed."""

    tokenizer: Tokenizer
    load: Callable[[torch.dtype], torch.nn.Module]
    config: transformers.PretrainedConfig
    special: dict[str, int]  # ids of cls, eos, pad, unk
    runtime: Runtime

    @property
    def engine(self) -> Literal["packed", "reference"]:
        """Which forward pass computes.

        Raises:
            UserError: packed is asked for and this architecture is none of its own.
        """
        if self.runtime.engine == "auto":
            return "packed" if packed.supports(self.config) else "reference"
        if self.runtime.engine == "packed" and not packed.supports(self.config):
            raise UserError(
                f"runtime.engine=packed computes {', '.join(sorted(packed.BERT | packed.ROBERTA))} with absolute positions, "
                f"this checkpoint is a {self.config.model_type}: choose engine=auto or reference."
            )
        return self.runtime.engine

    @cached_property
    def model(self) -> torch.nn.Module:
        """The transformer on its device, in the run's precision, in evaluation mode."""
        wrap = packed.PackedTransformer if self.engine == "packed" else reference.PaddedTransformer
        model = wrap(self.load(self.runtime.dtype)).to(self.runtime.device).eval()
        if self.runtime.precision == "int8":
            return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
        return for_cpu(model) if self.runtime.device == "cpu" and self.engine == "packed" else model

    @property
    def limit(self) -> int:
        """The longest input in tokens."""
        return longest(self.config)

    @cached_property
    def tokenize(self) -> Tokenization:
        """Texts -> token ids: see `Tokenization.__call__`."""
        return Tokenization(self.tokenizer)

    def forward(self, pack: Pack, only: np.ndarray | None = None) -> Hidden:
        """Runs a pack through the model.

        Args:
            pack: texts.
            only: [B] int64, the one token of each text whose state is wanted; the result is then of texts of one token.
        """
        states, device = self.model(pack.ids, pack.lengths, only), torch.device(self.runtime.device)
        if only is None:
            return Hidden(pack.rows, pack.lengths, to_device(pack.ids, device), states)
        return Hidden(
            pack.rows, np.ones_like(pack.lengths), to_device(pack.ids[only], device), states
        )


def longest(config: transformers.PretrainedConfig) -> int:
    """The longest input in tokens. RoBERTa-like models count positions from the padding id + 1 on."""
    positions = config.max_position_embeddings
    from_padding = packed.ROBERTA | {"xlm-roberta-xl"}
    return positions - config.pad_token_id - 1 if config.model_type in from_padding else positions


def from_folder(
    folder: Path,
    runtime: Runtime,
    architecture: type = transformers.AutoModel,
    append_eos: bool = False,
    trust_remote_code: bool = False,
) -> Backbone:
    """A backbone from a checkpoint in Hugging Face's layout.

    Args:
        folder: of the checkpoint.
        runtime: the machine.
        architecture: what the weights are of, with transformers' `from_pretrained`. Where it is not told by the config
            (AutoModel), the checkpoint may hold weights that it has no use for, such as a language model's last layer.
        append_eos: end every text with the end token, a cut one too, where the tokeniser does not do so itself.
        trust_remote_code: run the Python code that a checkpoint brings with it.

    Raises:
        UserError: config or tokeniser are missing, there is only a slow tokeniser, or the checkpoint is a mixture of experts
            and the architecture is not.
    """
    by_config = architecture is transformers.AutoModel
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is not a checkpoint that transformers can read: {error}"
        ) from error
    foreign = by_config and getattr(config, "auto_map", None) and not trust_remote_code
    if by_config and getattr(config, "moe", None) in MOE:
        raise UserError(
            f"{folder} is a mixture of experts ({config.moe=!s}), which a plain {config.model_type} would fill with random "
            "layers: choose encoder=clp_moe."
        )
    if not tokenizer.is_fast:
        raise UserError(
            f"{folder} has only a slow tokeniser ({type(tokenizer).__name__}): add its tokenizer.json."
        )
    special = {
        "cls": tokenizer.cls_token_id,
        "eos": tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "unk": tokenizer.unk_token_id,
    }
    if special["pad"] is None:
        raise UserError(
            f"{folder}: the tokeniser has no padding token, without which texts cannot share a batch."
        )

    keep_case(tokenizer.backend_tokenizer, folder)
    part, architecture = (
        _dpr(config, folder) if by_config and config.model_type == "dpr" else (None, architecture)
    )

    def load(dtype: torch.dtype) -> torch.nn.Module:
        model = strictly(
            lambda: architecture.from_pretrained(
                folder,
                dtype=dtype,
                output_loading_info=True,
                **(
                    {"trust_remote_code": True}
                    if trust_remote_code
                    else {"attn_implementation": "sdpa"}
                ),
            ),
            folder,
            all_used=not by_config,
            advice=REMOTE_CODE if foreign else "",
        )
        return getattr(model, part).bert_model if part else model

    if append_eos:
        end_with(tokenizer.backend_tokenizer, tokenizer.eos_token, tokenizer.eos_token_id)
    return Backbone(tokenizer.backend_tokenizer, load, config, special, runtime)


def _dpr(config: transformers.PretrainedConfig, folder: Path) -> tuple[str, type]:
    """Which side of a DPR pair a checkpoint is: where its BERT lies, and its class, which AutoModel does not tell apart.

    Raises:
        UserError: neither, or a projection follows the BERT.
    """
    found = (config.architectures or ["none"])[0]
    sides = {"DPRQuestionEncoder": "question_encoder", "DPRContextEncoder": "ctx_encoder"}
    if found not in sides or config.projection_dim:
        raise UserError(
            f"{folder} is a DPR checkpoint with architectures={found}, projection_dim={config.projection_dim}: m3eval reads "
            f"{' and '.join(sides)} without projection."
        )
    return sides[found], getattr(transformers, found)


def keep_case(tokenizer: Tokenizer, folder: Path) -> None:
    """Keeps upper case where a checkpoint says do_lower_case=false, which transformers 5 does not heed in every class (DPR)."""
    path = folder / "tokenizer_config.json"
    if (
        path.exists()
        and read_json(path).get("do_lower_case") is False
        and isinstance(tokenizer.normalizer, BertNormalizer)
    ):
        tokenizer.normalizer.lowercase = False


def end_with(tokenizer: Tokenizer, token: str, number: int) -> None:
    """Makes a tokeniser end every text with a token, counted when it cuts texts; nothing changes where it does so already."""
    if tokenizer.encode("a").ids[-1] == number:
        return
    last = processors.TemplateProcessing(
        single=f"$A {token}", pair=f"$A $B {token}", special_tokens=[(token, number)]
    )
    before = tokenizer.post_processor
    tokenizer.post_processor = last if before is None else processors.Sequence([before, last])


def strictly(
    load: Callable[[], tuple[torch.nn.Module, dict[str, Any]]],
    folder: Path,
    all_used: bool = False,
    advice: str = "",
) -> torch.nn.Module:
    """Loads a model and refuses weights that would otherwise be drawn at random.

    Args:
        load: gives a model and what transformers says of its loading.
        folder: of the checkpoint.
        all_used: refuse weights, too, that the model has no use for.
        advice: what to say besides where weights are lacking.

    Raises:
        UserError: names the weights that the checkpoint lacks. The pooler of BERT-like models, which no
            representation reads, may be absent.
    """
    transformers.utils.logging.disable_progress_bar()  # m3eval draws its own
    transformers.utils.logging.set_verbosity_error()  # and says itself what a checkpoint lacks
    try:
        model, info = load()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"The weights in {folder} cannot be loaded: {error}") from error
    lacking = sorted(
        str(name) for name in info["missing_keys"] if not str(name).startswith("pooler.")
    )
    lacking += sorted(str(entry) for entry in info["mismatched_keys"])
    if lacking:
        raise UserError(
            f"{folder} lacks {len(lacking)} weights of a {type(model).__name__}, for example {lacking[:3]}: "
            f"the file is incomplete or of another architecture.{advice}"
        )
    if all_used and (unused := sorted(map(str, info["unexpected_keys"]))):
        raise UserError(
            f"{folder} holds {len(unused)} weights that a {type(model).__name__} of its config has no use for, for example "
            f"{unused[:3]}: config and weights do not belong together."
        )
    return model
