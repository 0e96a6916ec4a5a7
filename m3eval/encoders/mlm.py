"""A masked language model in two parts: its transformer, which any engine runs, and its head, which scores the vocabulary.

A head of transformers is a small network and one linear layer as wide as the vocabulary. Parted from each other, scores of
a few terms can be had without the others, and no more scores exist at once than `NUMBERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from m3eval.encoders.backbone import Hidden, strictly
from m3eval.encoders.linear import for_cpu
from m3eval.encoders.terms import together
from m3eval.errors import UserError

NUMBERS = 32_000_000  # scores (tokens x vocabulary) in memory at once: 128 MB in fp32


class MaskedLM:
    """Loads a checkpoint's transformer for a backbone and keeps its head, on the same device, in the same precision."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        self.network: nn.Module | None = None  # all of the head but
        self.decoder: nn.Module | None = None  # the linear layer, with
        self.weight: torch.Tensor | None = None  # [vocabulary, h'], and
        self.bias: torch.Tensor | None = None  # [vocabulary]

    def load(self, dtype: torch.dtype) -> nn.Module:
        """The transformer.

        Raises:
            UserError: weights are missing, those of the head above all, or the head is built otherwise.
        """
        model = strictly(
            lambda: transformers.AutoModelForMaskedLM.from_pretrained(
                self.folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
            ),
            self.folder,
        )
        body = model.base_model
        setattr(model, model.base_model_prefix, _Given())
        network, decoder = model.to(self.device).eval(), model.get_output_embeddings()
        # The linear layer is taken out; that nothing else is lost is held against the head as it was.
        probe = torch.linspace(
            -1, 1, 3 * body.config.hidden_size, device=self.device, dtype=dtype
        ).view(3, -1)
        with torch.inference_mode():
            expected = network(inputs_embeds=probe[None]).logits[0]
            name = next((name for name, module in model.named_modules() if module is decoder), None)
            if name is not None and isinstance(decoder, nn.Linear):
                parent, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(parent), leaf, nn.Identity())
                self.weight, self.bias = decoder.weight, decoder.bias
                self.network, self.decoder = (
                    map(for_cpu, (network, decoder)) if self.device == "cpu" else (network, decoder)
                )
                if torch.allclose(
                    self.decoder(self.transform(probe)), expected, rtol=1e-2, atol=1e-2
                ):
                    return body
        raise UserError(
            f"{self.folder}: the head of a {type(model).__name__} is no network with one linear layer over the vocabulary."
        )

    def transform(self, states: torch.Tensor) -> torch.Tensor:
        """[n, h] token states -> [n, h'] what the linear layer reads."""
        return self.network(inputs_embeds=states[None]).logits[0]

    def logits(self, transformed: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
        """Scores of some terms only.

        Args:
            transformed: [n, length, h'], tokens of n texts of equal length, after `transform`.
            terms: [n, k] int64, the terms that are asked for of each text.

        Returns:
            [n, length, k] float32
        """
        scores = torch.bmm(transformed.float(), self.weight[terms].float().transpose(1, 2))
        return scores if self.bias is None else scores + self.bias[terms][:, None].float()

    def pooled(
        self,
        hidden: Hidden,
        pool: Callable[[torch.Tensor], torch.Tensor],
        fold: Callable[[torch.Tensor], torch.Tensor],
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Scores of every term, pooled over the tokens of a text, for a few texts at a time.

        Args:
            hidden: states of a pack.
            pool: [n, length, vocabulary] scores -> [n, vocabulary].
            fold: [parts, n, vocabulary] -> [n, vocabulary]; a text that is too long for `NUMBERS` is pooled in parts.

        Yields:
            of n texts of equal length, in the order of the pack: pooled scores [n, vocabulary], the tokens' states
            [n, length, h] and what became of them in `transform` [n, length, h'].
        """
        step = max(1, NUMBERS // len(self.weight))  # tokens at once
        for tokens, runs in together(hidden.lengths, step):
            states = hidden.states[tokens]
            transformed = self.transform(states)
            if len(states) > step:
                parts = [pool(self.decoder(part)[None]) for part in transformed.split(step)]
                yield fold(torch.stack(parts)), states[None], transformed[None]
                continue
            scores = self.decoder(transformed)
            for run, shape in runs:
                of_run = (part[run].unflatten(0, shape) for part in (scores, states, transformed))
                yield pool(next(of_run)), *of_run


class _Given(nn.Module):
    """Stands in a model's transformer's place: its states are given."""

    def forward(
        self, *arguments: object, inputs_embeds: torch.Tensor, **settings: object
    ) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)
