"""Cross-encoders: a transformer that reads a query and a document together and gives one number, their score.

Any checkpoint of transformers' AutoModelForSequenceClassification with one label, such as bge-reranker.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from m3eval.encoders import packed
from m3eval.encoders.backbone import Backbone, from_folder, longest, strictly
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.execution import Outputs, Pack, execute, packs, to_device
from m3eval.encoders.tokenization import TOKENIZED_AT_ONCE, slices
from m3eval.errors import UserError
from m3eval.runtime import Runtime

Pair = tuple[str, str]  # query, document


@dataclass(frozen=True)
class CrossEncoder:
    """A tokeniser and a function that computes the scores of a pack of pairs."""

    tokenizer: Tokenizer
    max_length: int  # tokens of a pair
    compute: Callable[[Pack], Outputs]  # its owner: the token types of every pair of the list
    runtime: Runtime

    def scores(self, pairs: Sequence[Pair]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions [b] and scores [b] float32 of the pairs, pack by pack.

        A pair over the limit loses tokens of the longer of the two, as transformers' `longest_first` has it.
        """
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length, strategy="longest_first")
        ids, types = [], []
        for start, end in slices(
            [len(query) + len(document) for query, document in pairs], TOKENIZED_AT_ONCE
        ):
            for found in self.tokenizer.encode_batch_fast(list(pairs[start:end])):
                ids.append(np.array(found.ids, np.int32))
                types.append(np.array(found.type_ids, np.int8))
        for pack, outputs in execute(packs(ids, self.runtime, types), self.compute, self.runtime):
            yield pack.rows, outputs["score"][0].numpy()


def identity(checkpoint: str, revision: str | None) -> dict[str, dict[str, str]]:
    """What a cross-encoder is: its files by hash."""
    return {"files": _hashes(str(locate(checkpoint, revision)))}


_hashes = functools.lru_cache(
    lambda folder: hashes(locate(folder, None))
)  # read once, not for every language


@functools.lru_cache(maxsize=1)  # loaded once, not for every language
def load(checkpoint: str, revision: str | None, max_length: int, runtime: Runtime) -> CrossEncoder:
    """Loads a checkpoint.

    Raises:
        UserError: it is out of reach, has not one label, lacks weights, or reads fewer tokens.
    """
    folder = locate(checkpoint, revision)
    backbone = from_folder(folder, runtime)
    config = backbone.config
    if config.num_labels != 1:
        raise UserError(
            f"{folder} gives {config.num_labels} numbers for a pair, a cross-encoder for retrieval gives 1."
        )
    if max_length > (limit := longest(config)):
        raise UserError(
            f"retriever max_length={max_length}: {folder} reads at most {limit} tokens."
        )

    def whole(dtype: torch.dtype) -> transformers.PreTrainedModel:
        kind = transformers.AutoModelForSequenceClassification
        return strictly(
            lambda: kind.from_pretrained(folder, dtype=dtype, output_loading_info=True), folder
        )

    if config.model_type in packed.ROBERTA:
        compute = _by_backbone(backbone, whole)
    else:
        names = transformers.AutoTokenizer.from_pretrained(folder).model_input_names
        compute = _padded(backbone, whole, "token_type_ids" in names)
    return CrossEncoder(backbone.tokenizer, max_length, compute, runtime)


def _by_backbone(
    backbone: Backbone, whole: Callable[[torch.dtype], transformers.PreTrainedModel]
) -> Callable[[Pack], Outputs]:
    """RoBERTa and XLM-R, which know no token types: our forward pass, then their head over the first token, in fp32."""
    model = whole(backbone.runtime.dtype)
    head = model.classifier.float().to(backbone.runtime.device).eval()
    body = Backbone(
        backbone.tokenizer,
        lambda dtype: model.base_model,
        backbone.config,
        backbone.special,
        backbone.runtime,
    )
    _ = body.model  # loaded once, not by every worker

    def compute(pack: Pack) -> Outputs:
        states = body.forward(pack, np.cumsum(pack.lengths) - pack.lengths).states
        return {"score": (head(states[:, None].float())[:, 0],)}

    return compute


def _padded(
    backbone: Backbone,
    whole: Callable[[torch.dtype], transformers.PreTrainedModel],
    with_types: bool,
) -> Callable[[Pack], Outputs]:
    """Every other architecture: transformers' own forward pass over padded pairs.

    Args:
        backbone: whose tokeniser and settings.
        whole: loads the transformer with its head.
        with_types: whether the tokeniser tells the model which text a token is of.
    """
    runtime = backbone.runtime
    if runtime.engine == "packed" or runtime.precision == "int8":
        raise UserError(
            f"runtime.engine=packed and precision=int8 are for cross-encoders of {', '.join(sorted(packed.ROBERTA))}; this "
            f"one is a {backbone.config.model_type}: choose engine=auto and another precision."
        )
    model = whole(runtime.dtype).to(runtime.device).eval()

    def compute(pack: Pack) -> Outputs:
        real = np.arange(pack.lengths.max()) < pack.lengths[:, None]  # [B, longest]
        ids, types = (
            np.full(real.shape, backbone.special["pad"], np.int64),
            np.zeros(real.shape, np.int64),
        )
        ids[real] = pack.ids
        types[real] = np.concatenate([pack.owner[row] for row in pack.rows])
        inputs = {"input_ids": ids, "attention_mask": real.astype(np.int64)} | (
            {"token_type_ids": types} if with_types else {}
        )
        logits = model(
            **{name: to_device(array, model.device) for name, array in inputs.items()}
        ).logits
        return {"score": (logits[:, 0].float(),)}

    return compute
