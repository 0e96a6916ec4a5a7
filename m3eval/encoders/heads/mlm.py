"""A masked language model in two parts: its transformer, and the head that scores the vocabulary.

A head of transformers is a small network and one linear layer as wide as the vocabulary. Parted
from the transformer, which any engine may run, scores of a few terms can be had without the others,
and no more scores exist at once than `NUMBERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.engine.packs import groups
from m3eval.encoders.engine.pretrained import load_strictly
from m3eval.encoders.engine.weights import from_folder
from m3eval.errors import UserError
from m3eval.lazy import torch, transformers

NUMBERS = 32_000_000  # scores (tokens x vocabulary) in memory at once: 128 MB in fp32


class PooledScores(NamedTuple):
    """Scores of n texts of equal length, and what they were made of."""

    scores: torch.Tensor  # [n, vocabulary], pooled over the tokens
    states: torch.Tensor  # [n, length, h], of the transformer
    transformed: torch.Tensor  # [n, length, h'], what the linear layer reads


class Parts(NamedTuple):
    """A masked language model in three: what each gives, the next reads."""

    body: Any  # the transformer
    network: Any  # the head without its last layer, called with inputs_embeds=[n, length, h]
    decoder: Any  # the last layer, [vocabulary, h']
    place: str  # the decoder's name in the network


def read(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """A masked language model in one.

    Raises:
        UserError: weights are missing, those of the head above all.
    """
    return load_strictly(
        lambda: from_folder(
            transformers.AutoModelForMaskedLM,
            folder,
            dtype,
            by_rows=False,  # the last layer multiplies with the whole table
            attn_implementation="sdpa",
        ),
        folder,
    )


def taken_apart(model: Any, folder: Path) -> Parts:
    """Parts a model, which is in evaluation mode. Weights that they share stay shared.

    Raises:
        UserError: its head is built otherwise.
    """
    from m3eval.encoders.heads.given_states import GivenStates

    body, decoder = model.base_model, model.get_output_embeddings()
    setattr(model, model.base_model_prefix, GivenStates())
    name = next((name for name, module in model.named_modules() if module is decoder), None)
    if name is not None and isinstance(decoder, torch.nn.Linear):
        width, weight = body.config.hidden_size, decoder.weight
        probe = torch.linspace(-1, 1, 3 * width, device=weight.device, dtype=weight.dtype)
        probe = probe.view(1, 3, -1)
        with torch.no_grad():
            expected = model(inputs_embeds=probe).logits  # [1, 3, vocabulary]
            put(model, name, torch.nn.Identity())
            found = decoder(model(inputs_embeds=probe).logits)
        # Damaged weights, which give NaN on both sides, are told by what texts get.
        if torch.allclose(found, expected, rtol=1e-2, atol=1e-2, equal_nan=True):
            return Parts(body, model, decoder, name)
    raise UserError(
        f"{folder}: the head of a {type(model).__name__} is no network with one linear layer over "
        "the vocabulary."
    )


@contextmanager
def whole(parts: Parts) -> Iterator[Any]:
    """The model in one again, as long as it is needed, to be saved."""
    given = getattr(parts.network, parts.network.base_model_prefix)
    setattr(parts.network, parts.network.base_model_prefix, parts.body)
    put(parts.network, parts.place, parts.decoder)
    try:
        yield parts.network
    finally:
        setattr(parts.network, parts.network.base_model_prefix, given)
        put(parts.network, parts.place, torch.nn.Identity())


def put(model: Any, name: str, module: torch.nn.Module) -> None:
    """Puts a module in the place of that with a name."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


class MaskedLM:
    """Loads a checkpoint's transformer for a backbone and keeps its head beside it."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        # What `load` takes out of the model:
        self.network: Any = None  # all of the head but
        self.decoder: Any = None  # the linear layer, with
        self.weight: Any = None  # [vocabulary, h'], and
        self.bias: Any = None  # [vocabulary], or None

    def load(self, dtype: torch.dtype) -> torch.nn.Module:
        """The transformer.

        Raises:
            UserError: weights are missing, those of the head above all, or the head is built
                otherwise.
        """
        from m3eval.encoders.engine.linear import for_cpu

        model: Any = read(self.folder, dtype).to(self.device).eval()
        body, network, decoder, _ = taken_apart(model, self.folder)
        self.weight, self.bias = decoder.weight, decoder.bias
        if self.device == "cpu":
            network, decoder = for_cpu(network), for_cpu(decoder)
        self.network, self.decoder = network, decoder
        return body

    def transform(self, states: torch.Tensor) -> torch.Tensor:
        """[n, h] states of tokens -> [n, h'], what the linear layer reads."""
        return self.network(inputs_embeds=states[None]).logits[0]

    def logits(self, transformed: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
        """Scores of some terms only.

        Args:
            transformed: [n, length, h'], tokens of n texts of equal length, after `transform`.
            terms: [n, k] int64, the terms that are asked for of each text.

        Returns:
            [n, length, k] float32
        """
        weight = self.weight[terms].float()  # [n, k, h']
        scores = torch.bmm(transformed.float(), weight.transpose(1, 2))
        return scores if self.bias is None else scores + self.bias[terms][:, None].float()

    def pooled(
        self,
        hidden: Hidden,
        pool: Callable[[torch.Tensor], torch.Tensor],
        fold: Callable[[torch.Tensor], torch.Tensor],
    ) -> Iterator[PooledScores]:
        """Scores of every term, pooled over the tokens of a text, for a few texts at a time.

        Args:
            hidden: states of a pack.
            pool: [n, length, vocabulary] scores -> [n, vocabulary].
            fold: [parts, n, vocabulary] -> [n, vocabulary]; a text too long for `NUMBERS` is pooled
                in parts.

        Yields:
            Texts in the order of the pack, those of equal length together.
        """
        at_once = max(1, NUMBERS // len(self.weight))  # tokens
        for tokens, runs in groups(hidden.lengths, at_once):
            states = hidden.states[tokens]  # [tokens, h]
            transformed = self.transform(states)  # [tokens, h']
            if len(states) > at_once:  # one text
                parts = [pool(self.decoder(part)[None]) for part in transformed.split(at_once)]
                yield PooledScores(fold(torch.stack(parts)), states[None], transformed[None])
                continue
            scores = self.decoder(transformed)  # [tokens, vocabulary]
            for run in runs:
                of_run, of_states, of_transformed = (
                    part[run.tokens].unflatten(0, (run.texts, run.length))
                    for part in (scores, states, transformed)
                )
                yield PooledScores(pool(of_run), of_states, of_transformed)
