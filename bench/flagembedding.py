"""FlagEmbedding 1.4.2 beside today's transformers.

`import FlagEmbedding` imports every model it has, also rerankers built on decoders. These import
four names from `transformers.modeling_attn_mask_utils`, a module that transformers 5.24 has
removed. m3eval is compared with FlagEmbedding's BGE-M3 only, which uses none of them. So a
stand-in takes the module's place while the package is imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

REMOVED = "transformers.modeling_attn_mask_utils"
NAMES = (
    "AttentionMaskConverter",
    "_prepare_4d_attention_mask",
    "_prepare_4d_causal_attention_mask",
    "_prepare_4d_causal_attention_mask_for_sdpa",
)


def flagembedding() -> ModuleType:
    """The package FlagEmbedding.

    Raises:
        ImportError: It is not installed, or it lacks more than the one removed module.
    """
    if find_spec(REMOVED) is not None:
        return import_module("FlagEmbedding")
    stand_in = ModuleType(REMOVED)
    for name in NAMES:
        setattr(stand_in, name, _never_called)
    sys.modules[REMOVED] = stand_in
    try:
        return import_module("FlagEmbedding")
    finally:
        del sys.modules[REMOVED]


def _never_called(*_: object, **__: object) -> None:
    raise NotImplementedError(f"{REMOVED} is a stand-in (bench/flagembedding.py)")
