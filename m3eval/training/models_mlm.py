"""Masked language models in training: SPLADE's weights of terms, SparseEmbed's vectors of them.

They compute what `encoders/heads/splade.py` and `expansion.py` compute of packed texts. Scores of
every term at every token exist for some tokens at a time only, and never with gradients where the
largest counts: which token that is is found first, and its score is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from m3eval.benchmarks.texts import Role
from m3eval.encoders.heads.expansion import AXES, AttentionOver
from m3eval.encoders.heads.mlm import Parts
from m3eval.encoders.heads.splade import TermPooling
from m3eval.encoders.heads.terms import strongest_terms
from m3eval.training.gradient_cache import Side
from m3eval.training.models import hidden_states
from m3eval.training.similarity import Embedded

NUMBERS = 32_000_000  # scores (tokens x vocabulary) in memory at once: 128 MB in fp32


class TermModel(nn.Module):
    """A weight for every term of the vocabulary; perhaps a vector for each of a text's terms.

    Args:
        parts: the language model; the transformer is `body`, its head `network` and `decoder`.
        pooling: over a text's tokens.
        logarithms: how often log(1 + x) is taken after the ReLU.
        k_tokens: how many terms a text of each role keeps; None: all above zero.
        linear: makes a term's vector, [d, h]; None: terms have none. Else there must be k_tokens.
        attention_over: what the share of a token in a term's vector is relative to.
    """

    def __init__(
        self,
        parts: Parts,
        pooling: TermPooling,
        logarithms: int,
        k_tokens: Mapping[Role, int | None],
        linear: nn.Linear | None = None,
        attention_over: AttentionOver = "terms",
    ) -> None:
        super().__init__()
        self.body, self.network, self.decoder, self.place = parts
        self.pooling: TermPooling = pooling
        self.logarithms, self.k_tokens = logarithms, dict(k_tokens)
        self.linear = linear
        self.attention_over: AttentionOver = attention_over

    @property
    def parts(self) -> Parts:
        """The language model."""
        return Parts(self.body, self.network, self.decoder, self.place)

    def forward(self, side: Side) -> Embedded:
        """The embeddings of n texts.

        Returns:
            "weights" [n, vocabulary]; with vectors also "terms" [n, k] int64 and "vectors"
            [n, k, d].
        """
        # [n, length, h]; those of a frozen body were stored in 16 bits
        states = hidden_states(self.body, side).to(self.decoder.weight.dtype)
        transformed = self.network(inputs_embeds=states).logits  # [n, length, h']
        k = self.k_tokens["query" if bool(side["asking"][0, 0]) else "document"]
        with torch.autocast(states.device.type, enabled=False):
            transformed, mask = transformed.float(), side["mask"]
            weights = self._weights(transformed, mask)
            if k is None:
                return {"weights": weights}
            # The terms that evaluation chooses.
            terms = strongest_terms(weights.detach(), k)[1].view(len(weights), -1).long()
            kept = torch.zeros_like(weights).scatter(1, terms, weights.gather(1, terms))
            if self.linear is None:
                return {"weights": kept}
            attention = self._attention(transformed, mask, terms)
            vectors = self.linear(attention.mT @ states.float()).relu()
            return {"weights": kept, "terms": terms, "vectors": vectors}

    def _weights(self, transformed: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[n, vocabulary]: weights, pooled over the tokens of n texts."""
        block = max(1, NUMBERS // (len(mask) * self.decoder.out_features))  # tokens of each text
        blocks = list(zip(transformed.split(block, 1), mask.split(block, 1), strict=True))
        if self.pooling == "sum":
            return torch.stack([_cheap(self._sum, len(blocks), *pair) for pair in blocks]).sum(0)
        best, token = self._best(blocks)
        # Only scores above 0 become weights, so only theirs are computed with gradients.
        text, term = (best > 0).nonzero(as_tuple=True)  # [pairs] each
        token = token[text, term]
        size = max(1, NUMBERS // transformed.shape[2])  # pairs at once
        pairs = list(zip(text.split(size), token.split(size), term.split(size), strict=True))
        scores = [_cheap(self._scores, len(pairs), transformed, *each) for each in pairs]
        return torch.zeros_like(best).index_put((text, term), self._weigh(torch.cat(scores)))

    @torch.no_grad()
    def _best(
        self, blocks: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[n, vocabulary] twice: each term's largest score over a text's tokens, and its token."""
        best, token, first = None, None, 0
        for transformed, mask in blocks:
            scores = self.decoder(transformed).masked_fill(~mask[..., None], -torch.inf)
            found, place = scores.max(1)
            if best is None or token is None:
                best, token = found, place
            else:
                better = found > best
                best = torch.where(better, found, best)
                token = torch.where(better, place + first, token)
            first += mask.shape[1]
        assert best is not None and token is not None  # a batch has tokens
        return best, token

    def _scores(
        self,
        transformed: torch.Tensor,
        text: torch.Tensor,
        token: torch.Tensor,
        term: torch.Tensor,
    ) -> torch.Tensor:
        """[pairs]: the score of a term at a token of a text, for each."""
        scores = (transformed[text, token] * self.decoder.weight[term]).sum(1)
        return scores if self.decoder.bias is None else scores + self.decoder.bias[term]

    def _sum(self, transformed: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (self._weigh(self.decoder(transformed)) * mask[..., None]).sum(1)

    def _weigh(self, scores: torch.Tensor) -> torch.Tensor:
        weights = scores.relu()
        for _ in range(self.logarithms):
            weights = weights.log1p()
        return weights

    def _attention(
        self, transformed: torch.Tensor, mask: torch.Tensor, terms: torch.Tensor
    ) -> torch.Tensor:
        """[n, length, k]: how much of each token's state goes into each term's vector."""
        scores = transformed @ self.decoder.weight[terms].float().mT  # [n, length, k]
        if self.decoder.bias is not None:
            scores = scores + self.decoder.bias[terms][:, None]
        padding = ~mask[..., None]
        scores = scores.masked_fill(padding, torch.finfo(scores.dtype).min)
        return scores.softmax(AXES[self.attention_over]).masked_fill(padding, 0)


def _cheap(
    compute: Callable[..., torch.Tensor], parts: int, *tensors: torch.Tensor
) -> torch.Tensor:
    """What a function gives; of several parts each is computed again for its gradient."""
    return compute(*tensors) if parts == 1 else checkpoint(compute, *tensors, use_reentrant=False)
