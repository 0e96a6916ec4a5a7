"""A masked language model in two parts: its transformer, and the head that scores the vocabulary.

A head of transformers is a small network and one linear layer as wide as the vocabulary. Parted
from the transformer, which any engine may run, scores of a few terms can be had without the others,
and no more scores exist at once than `NUMBERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from m3eval.encoders.engine.backbone import Hidden
from m3eval.encoders.engine.packs import groups
from m3eval.encoders.engine.pretrained import load_strictly
from m3eval.errors import UserError
from m3eval.lazy import torch, transformers

NUMBERS = 32_000_000  # scores (tokens x vocabulary) in memory at once: 128 MB in fp32


class PooledScores(NamedTuple):
    """Scores of n texts of equal length, and what they were made of."""

    scores: torch.Tensor  # [n, vocabulary], pooled over the tokens
    states: torch.Tensor  # [n, length, h], of the transformer
    transformed: torch.Tensor  # [n, length, h'], what the linear layer reads


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
        from m3eval.encoders.heads.given_states import GivenStates

        model: Any = load_strictly(
            lambda: transformers.AutoModelForMaskedLM.from_pretrained(
                self.folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
            ),
            self.folder,
        )
        body = model.base_model
        setattr(model, model.base_model_prefix, GivenStates())
        network = model.to(self.device).eval()
        if not self._take_apart(network, body.config.hidden_size, dtype):
            raise UserError(
                f"{self.folder}: the head of a {type(model).__name__} is no network with one "
                "linear layer over the vocabulary."
            )
        return body

    def _take_apart(self, network: Any, width: int, dtype: torch.dtype) -> bool:
        """Takes the linear layer out of a head; whether the two parts compute what the head did."""
        from m3eval.encoders.engine.linear import for_cpu

        decoder = network.get_output_embeddings()
        name = next((name for name, module in network.named_modules() if module is decoder), None)
        if name is None or not isinstance(decoder, torch.nn.Linear):
            return False
        probe = torch.linspace(-1, 1, 3 * width, device=self.device, dtype=dtype).view(3, -1)
        with torch.inference_mode():
            expected = network(inputs_embeds=probe[None]).logits[0]  # [3, vocabulary]
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, torch.nn.Identity())
            self.weight, self.bias = decoder.weight, decoder.bias
            if self.device == "cpu":
                network, decoder = for_cpu(network), for_cpu(decoder)
            self.network, self.decoder = network, decoder
            found = decoder(self.transform(probe))
            # Damaged weights, which give NaN on both sides, are told by what texts get.
            return torch.allclose(found, expected, rtol=1e-2, atol=1e-2, equal_nan=True)

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
