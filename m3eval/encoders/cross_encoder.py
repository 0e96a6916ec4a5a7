"""Cross-encoders: a transformer that reads a query and a document together and gives their score.

Any checkpoint of transformers' AutoModelForSequenceClassification with one label, such as
bge-reranker.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.engine.backbone import Backbone
from m3eval.encoders.engine.execution import execute
from m3eval.encoders.engine.packs import Pack, packs
from m3eval.encoders.engine.pairs import FramedPairs, Pair, PairFrame
from m3eval.encoders.engine.pretrained import Pretrained, load_strictly
from m3eval.encoders.engine.shape import ROBERTA
from m3eval.encoders.engine.weights import from_folder
from m3eval.encoders.finite import NotFinite, first_beyond
from m3eval.encoders.transfer import to_device
from m3eval.errors import UserError
from m3eval.lazy import torch, transformers
from m3eval.runtime import Runtime

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from m3eval.encoders.engine.execution import Outputs

    Load = Callable[[torch.dtype], Any]  # -> a `PreTrainedModel` with its head


@dataclass(frozen=True)
class CrossEncoder:
    """A tokeniser and a function that computes the scores of a pack of pairs."""

    tokenizer: Tokenizer
    frame: PairFrame
    max_length: int  # tokens of a pair
    compute: Callable[[Pack], Outputs]  # its owner: the token types of every pair of the list
    runtime: Runtime

    def framed(self, pairs: Sequence[Pair]) -> FramedPairs:
        """The tokens of pairs. One over the limit loses tokens of the longer of its texts."""
        return self.frame.put_around(pairs, self.tokenizer, self.max_length)

    def scores(
        self, framed: FramedPairs, name: Callable[[int], str] = "pair {}".format
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions [b] and scores [b] float32 of the pairs, pack by pack.

        Args:
            framed: the pairs.
            name: of the pair at a position, for messages.

        Raises:
            NotFinite: a score is no finite number.
        """
        most = float(np.finfo(np.float32).max)
        in_packs = packs(framed.ids, self.runtime, framed.types)
        for pack, outputs in execute(in_packs, self.compute, self.runtime):
            scores = outputs["score"][0].numpy()
            if (place := first_beyond(scores, most)) is not None:
                where = f"The cross-encoder's score of {name(int(pack.rows[place]))}"
                raise NotFinite(where, float(scores[place]), most, self.runtime.precision)
            yield pack.rows, scores


def identity(checkpoint: str, revision: str | None) -> dict[str, dict[str, str]]:
    """What a cross-encoder is: its files by hash."""
    return {"files": _hashes(str(locate(checkpoint, revision)))}


@functools.lru_cache  # read once, not for every language
def _hashes(folder: str) -> dict[str, str]:
    return hashes(locate(folder, None))


@functools.lru_cache(maxsize=1)  # loaded once, not for every language
def load(checkpoint: str, revision: str | None, max_length: int, runtime: Runtime) -> CrossEncoder:
    """Loads a checkpoint.

    Raises:
        UserError: it is out of reach, does not have one label, lacks weights, or reads fewer
            tokens or none of the texts.
    """
    folder = locate(checkpoint, revision)
    pretrained = Pretrained(folder)
    labels = pretrained.config.num_labels
    if labels != 1:
        raise UserError(
            f"{folder} gives {labels} numbers for a pair, a cross-encoder for retrieval gives 1."
        )
    frame, limit = PairFrame.of(pretrained.tokenizer), pretrained.shape.limit
    least = frame.tokens + 2  # one of each text
    if not least <= max_length <= limit:
        raise UserError(
            f"retriever max_length={max_length}: {folder} reads at most {limit} tokens of a pair, "
            f"and {frame.tokens} are its own: choose {least} to {limit}."
        )
    runtime.set_up_torch()

    def whole(dtype: torch.dtype) -> Any:
        kind = transformers.AutoModelForSequenceClassification
        return load_strictly(lambda: from_folder(kind, folder, dtype), folder)

    by_us = pretrained.shape.model_type in ROBERTA
    compute = (_by_backbone if by_us else _by_transformers)(pretrained, whole, runtime)
    return CrossEncoder(pretrained.tokenizer, frame, max_length, compute, runtime)


def _by_backbone(
    pretrained: Pretrained, whole: Load, runtime: Runtime
) -> Callable[[Pack], Outputs]:
    """RoBERTa and XLM-R, which know no token types.

    Our forward pass, then the checkpoint's head over the first token, in fp32.
    """
    model = whole(runtime.weights)
    head = model.classifier.float().to(runtime.device).eval()
    body = Backbone(pretrained, runtime, load=lambda dtype: model.base_model)
    _ = body.model  # loaded once, not by every worker

    def compute(pack: Pack) -> Outputs:
        first = np.cumsum(pack.lengths) - pack.lengths
        states = body.forward(pack, first).states  # [B, h]
        return {"score": (head(states[:, None].float())[:, 0],)}

    return compute


def _by_transformers(
    pretrained: Pretrained, whole: Load, runtime: Runtime
) -> Callable[[Pack], Outputs]:
    """Every other architecture: transformers' own forward pass over padded pairs."""
    if runtime.engine == "packed":
        raise UserError(
            f"runtime.engine=packed is for cross-encoders of {', '.join(sorted(ROBERTA))}; this "
            f"one is a {pretrained.shape.model_type}: choose engine=auto."
        )
    model = whole(runtime.dtype).to(runtime.device).eval()
    padding = pretrained.special["pad"]
    names = transformers.AutoTokenizer.from_pretrained(pretrained.folder).model_input_names

    def compute(pack: Pack) -> Outputs:
        real = np.arange(pack.lengths.max()) < pack.lengths[:, None]  # [B, longest]
        ids, types = np.full(real.shape, padding, np.int64), np.zeros(real.shape, np.int64)
        ids[real] = pack.ids
        types[real] = np.concatenate([pack.owner[row] for row in pack.rows])
        inputs = {"input_ids": ids, "attention_mask": real.astype(np.int64)}
        if "token_type_ids" in names:
            inputs["token_type_ids"] = types
        tensors = {name: to_device(array, model.device) for name, array in inputs.items()}
        return {"score": (model(**tensors).logits[:, 0].float(),)}  # [B, 1] -> [B]

    return compute
