"""Random masked language models in the layouts that SPLADE and SparseEmbed have."""

import json
from pathlib import Path

import torch
import transformers

from tests.conftest import save_tokenizer, words

# Short, empty, of one token, longer than what a miniature reads, one token often, in between.
TEXTS = [words(1, 12), "", "ba", words(2, 300), "ba ba ba be", words(3, 40)]

SIZES = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
}
CONFIGS = {
    "bert": lambda shared: transformers.BertConfig(
        **shared, **SIZES, hidden_size=32, initializer_range=0.3
    ),
    "xlm-roberta": lambda shared: transformers.XLMRobertaConfig(
        **shared, **SIZES, hidden_size=32, initializer_range=0.3
    ),
    "distilbert": lambda shared: transformers.DistilBertConfig(
        **shared,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=64,
        max_position_embeddings=130,
        initializer_range=0.3,
    ),
    "modernbert": lambda shared: transformers.ModernBertConfig(
        **shared, **SIZES, hidden_size=32, cls_token_id=0, sep_token_id=2, initializer_range=0.3
    ),
}

METADATA = {
    "max_length_query": 12,
    "max_length_document": 30,
    "query_prefix": "ba: ",
    "document_prefix": "do ",
    "padding": "max_length",
    "truncation": True,
    "add_special_tokens": True,
    "n_mask_tokens": 3,
}


def save_mlm(
    folder: Path, kind: str = "bert", metadata: dict | None = None, width: int | None = None
) -> Path:
    """A masked language model; with neural-cherche's metadata.json and linear.pt [width, 32] where
    these are asked for.
    """
    save_tokenizer(folder)
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    torch.manual_seed(0)
    config = CONFIGS[kind](
        {"vocab_size": vocabulary, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    )
    model = transformers.AutoModelForMaskedLM.from_config(config)
    decoder = model.get_output_embeddings()
    decoder.bias.data = torch.randn(vocabulary) - 1  # else zero, and a lost bias would not show
    model.save_pretrained(folder)
    if metadata is not None:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    if width is not None:
        torch.save(torch.nn.Linear(32, width, bias=False).state_dict(), folder / "linear.pt")
    return folder


def neural_cherche(model, folder):
    """A model of neural-cherche 1.4.3, with what it misses: a method that transformers 5 dropped, a
    name in its own utils.
    """
    from neural_cherche import models, utils
    from neural_cherche.utils.dense_scores import pairs_dense_scores

    utils.pairs_dense_scores = pairs_dense_scores
    theirs = getattr(models, model)(str(folder), device="cpu")
    theirs.eval()

    def batch_encode_plus(batch_text_or_text_pairs, **settings):
        return theirs.tokenizer(batch_text_or_text_pairs, **settings)

    theirs.tokenizer.batch_encode_plus = batch_encode_plus
    return theirs
