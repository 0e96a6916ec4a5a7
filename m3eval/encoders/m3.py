"""BGE-M3 and every checkpoint in its format: an XLM-R backbone with a lexical and a multi-vector head beside it.

The heads are ``sparse_linear.pt`` (weight [1, h], bias [1]) and ``colbert_linear.pt`` (weight [d, h], bias [d]). As in the
M3 paper (section 3.2) and FlagEmbedding: dense is the normalised CLS state; lexical weights are ReLU(linear), the largest per
token id, without CLS, EOS, padding and unknown; multi-vector is the normalised linear of every token but CLS, EOS included.
"""

from __future__ import annotations

import torch

from m3eval.encoders.backbone import Hidden, from_folder
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Encoder
from m3eval.encoders.heads import DenseHead, MultiVectorHead, SparseHead, read_linear
from m3eval.encoders.linear import for_cpu
from m3eval.encoders.mcls import Mcls, MclsHead
from m3eval.errors import UserError
from m3eval.runtime import Runtime

MISSING = (
    "An M3 checkpoint has its heads in sparse_linear.pt and colbert_linear.pt, and m3eval never makes one up: copy the file "
    "beside the weights, or use an encoder that is dense only (encoder=pooled)."
)


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    runtime: Runtime,
    mcls: int | None = None,
) -> Encoder:
    """Builds the encoder; the transformer itself is loaded with the first text.

    Args:
        name: of stores and results.
        label: what tables call it.
        checkpoint: hub id or folder.
        revision: on the hub.
        runtime: the machine.
        mcls: tokens between two CLS tokens, of which dense is the mean (`mcls.py`): dense only; None: one CLS.

    Raises:
        UserError: the checkpoint is out of reach, or a head file is missing, damaged or of another width.
    """
    folder = locate(checkpoint, revision)
    body = from_folder(folder, runtime)
    identity = {"family": "m3", "precision": runtime.precision, "files": hashes(folder)}
    if mcls is not None:
        if mcls < 1:
            raise UserError(
                f"encoder.mcls={mcls}: at least one token must stand between two CLS tokens."
            )
        every, why = Mcls(mcls), "MCLS is defined for dense only"
        return Encoder(
            name,
            label,
            body,
            {"dense": MclsHead(every)},
            identity | {"mcls": mcls},
            why_no_other=why,
            mcls=every,
        )
    files, width = ("sparse_linear.pt", "colbert_linear.pt"), body.config.hidden_size
    lexical, multi = (read_linear(folder / file, width, True, MISSING) for file in files)
    return Encoder(
        name,
        label,
        body,
        {
            "dense": DenseHead("cls"),
            "sparse": SparseHead(
                lambda hidden: _weights(lexical, hidden),
                set(body.special.values()),
                body.config.vocab_size,
            ),
            "multi_vector": MultiVectorHead(
                for_cpu(multi) if runtime.device == "cpu" else multi,
                drop_eos=False,
                dimension=multi.out_features,
            ),
        },
        identity,
    )


def _weights(linear: torch.nn.Linear, hidden: Hidden) -> torch.Tensor:
    """[T] float32: ReLU of the lexical head at every token."""
    return torch.relu(linear.to(hidden.states.device)(hidden.states.float()))[:, 0]
