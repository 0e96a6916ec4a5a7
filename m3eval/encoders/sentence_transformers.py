"""Whatever sentence-transformers reads: dense, sparse and multi-vector checkpoints, computed by that library itself.

What a checkpoint is, its own files say: `model_type` in config_sentence_transformers.json (PyLate writes "ColBERT" there), or
the architecture HF_ColBERT of Stanford's. Query and document markers, expansion with [MASK] and the list of words without
vectors come from the checkpoint too. Version 6 reads PyLate's and Stanford's checkpoints, so neither library is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
import torch
import transformers
from tokenizers import Tokenizer

from m3eval.benchmarks.texts import Role
from m3eval.encoders.backbone import longest, strictly
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Request
from m3eval.encoders.execution import packs
from m3eval.encoders.outside import OutsideEncoder, Part, out_of_memory
from m3eval.encoders.representations import Representation
from m3eval.encoders.tokenization import Tokenization, Tokens
from m3eval.errors import UserError
from m3eval.files import read_json
from m3eval.runtime import Runtime

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder

    Model = SentenceTransformer | SparseEncoder | MultiVectorEncoder

KINDS: dict[str, Representation] = {
    "SentenceTransformer": "dense",
    "SparseEncoder": "sparse",
    "MultiVectorEncoder": "multi_vector",
    "ColBERT": "multi_vector",
}
CLASSES = {
    "dense": "SentenceTransformer",
    "sparse": "SparseEncoder",
    "multi_vector": "MultiVectorEncoder",
}
PROMPTS = {
    "query": ["query"],
    "document": ["document", "passage", "corpus"],
}  # as the library looks for them


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    query_prefix: str | None,
    document_prefix: str | None,
    max_length: int | None,
    runtime: Runtime,
) -> OutsideEncoder:
    """Loads a checkpoint into the class of sentence-transformers that it was saved from.

    Dense and sparse vectors of a checkpoint whose similarity is the cosine are scaled to length 1, for we compare by inner
    product.

    Raises:
        UserError: the library is not installed, the checkpoint is out of reach, not one of its or incomplete, or its
            similarity is no inner product.
    """
    try:
        import sentence_transformers as library
    except ImportError as error:
        raise UserError(
            "encoder sentence_transformers needs: pip install 'm3eval[sentence_transformers]'."
        ) from error
    if runtime.precision == "int8":
        raise UserError(
            "runtime.precision=int8 is for m3eval's own encoders: choose fp32, bf16 or fp16."
        )
    folder = locate(checkpoint, revision)
    kind = representation(folder)
    engine = f"sentence-transformers {version('sentence-transformers')}"
    transformers.utils.logging.disable_progress_bar()  # m3eval draws its own
    transformers.utils.logging.set_verbosity_error()  # and `require_weights` says what a checkpoint lacks
    try:
        settings = {"dtype": runtime.dtype}
        model: Model = getattr(library, CLASSES[kind])(
            str(folder), device=runtime.device, model_kwargs=settings
        )
    except Exception as error:  # the library raises many kinds
        raise UserError(f"{folder} cannot be loaded by {engine}: {error}") from error
    require_weights(model, folder)
    if kind != "multi_vector" and model.similarity_fn_name not in ("cosine", "dot"):
        raise UserError(
            f"{folder} compares vectors by {model.similarity_fn_name}; m3eval by inner product or cosine."
        )
    own = own_prompts(model.prompts)
    given = {"query": query_prefix, "document": document_prefix}
    prefixes = {role: own[role] if given[role] is None else given[role] for role in own}
    limits = lengths(model, max_length)
    if not getattr(model.tokenizer, "is_fast", False):
        raise UserError(
            f"{folder} has only a slow tokeniser ({type(model.tokenizer).__name__}): add its tokenizer.json."
        )
    if limits["query"] != limits["document"]:
        engine += f", queries of at most {limits['query']} tokens"
    return OutsideEncoder(
        name,
        label,
        engine,
        kind,
        model.get_embedding_dimension(),
        limits["document"],
        {
            "family": "sentence_transformers",
            "files": hashes(folder, nested=True),
            "representation": kind,
            "prefixes": prefixes,
            "limits": limits,
            "precision": runtime.precision,
        },
        functools.partial(
            tokenize, model, Tokenization(_copied(model.tokenizer)), prefixes, limits
        ),
        functools.partial(compute, model, kind, prefixes, limits, runtime),
        runtime.device,
        prefixes,
    )


def own_prompts(prompts: Mapping[str, str | None]) -> dict[Role, str]:
    """What a checkpoint puts before queries and documents, of the prompts it has by name."""
    return {
        role: next((prompts[key] for key in keys if key in prompts), None) or ""
        for role, keys in PROMPTS.items()
    }


def representation(folder: Path) -> Representation:
    """What a checkpoint gives, as its files say.

    Raises:
        UserError: they do not. The library would put mean pooling or a random projection behind any transformer, and read
            Stanford's ColBERT with markers and lengths of its own.
    """

    def read(name: str) -> dict[str, Any]:
        return read_json(folder / name) if (folder / name).exists() else {}

    if "HF_ColBERT" in (read("config.json").get("architectures") or []):
        if not (folder / "artifact.metadata").exists():
            raise UserError(
                f"{folder / 'artifact.metadata'} is missing, which names the markers and lengths of a ColBERT of Stanford's: "
                "copy it from where the checkpoint is from."
            )
        return "multi_vector"
    if not (folder / "modules.json").exists():
        raise UserError(
            f"{folder} has no modules.json, so it does not say what comes after the transformer. A dense one that is "
            "pooled by its first token or the mean: encoder=pooled."
        )
    kind = read("config_sentence_transformers.json").get("model_type") or "SentenceTransformer"
    if kind not in KINDS:
        raise UserError(
            f"{folder} is a {kind} of sentence-transformers; texts are encoded by {', '.join(KINDS)}."
        )
    return KINDS[kind]


def require_weights(model: Model, folder: Path) -> None:
    """Refuses a checkpoint that lacks weights of its transformer, which the library draws at random and does not tell.

    The names of what is there are compared again, on torch's meta device, where no weight is kept.

    Raises:
        UserError: names the weights.
    """
    from sentence_transformers.base.modules import Transformer

    bodies = [module.auto_model for module in model.modules() if isinstance(module, Transformer)]
    architectures = {type(body.config): type(body) for body in bodies}
    for place in sorted(
        path.parent for path in folder.rglob("config.json") if "model_type" in read_json(path)
    ):
        architecture = architectures.get(type(transformers.AutoConfig.from_pretrained(place)))
        if architecture and any([*place.glob("*.safetensors"), *place.glob("pytorch_model*.bin")]):
            read = functools.partial(
                architecture.from_pretrained, device_map="meta", output_loading_info=True
            )
            strictly(functools.partial(read, place), place)


def lengths(model: Model, wanted: int | None) -> dict[Role, int]:
    """Tokens that a query and a document may have: `wanted`, or what the checkpoint says, never more than it has positions."""
    first = model[0]
    most = (
        longest(model.config) if getattr(model.config, "max_position_embeddings", None) else 10**9
    )
    own = min(model.max_seq_length or most, most)
    if wanted is not None and wanted > most:
        raise UserError(
            f"encoder.max_length={wanted}: the checkpoint has positions for {most} tokens."
        )
    document = min(wanted or getattr(first, "document_length", None) or own, most)
    expansion = getattr(first, "query_expansion", None)
    if expansion is not None and expansion["strategy"] == "fixed":
        return {"query": expansion["length"], "document": document}
    return {
        "query": min(getattr(first, "query_length", None) or wanted or own, most),
        "document": document,
    }


def tokenize(
    model: Model,
    tokenization: Tokenization,
    prefixes: dict[Role, str],
    limits: dict[Role, int],
    request: Request,
) -> Tokens:
    """Token ids as the library gives them to the model, but for the [MASK]s of query expansion."""
    prefix = prefixes[request.role]
    return tokenization([prefix + text for text in request.texts], _limit(model, limits, request))


def compute(
    model: Model,
    kind: Representation,
    prefixes: dict[Role, str],
    limits: dict[Role, int],
    runtime: Runtime,
    request: Request,
    tokens: Tokens,
) -> Iterator[Part]:
    """Encodes texts of like length together."""
    encode = model.encode_query if request.role == "query" else model.encode_document
    options: dict[str, Any] = {"prompt": prefixes[request.role], "show_progress_bar": False}
    if not _fixed(model, request.role):
        limit = _limit(model, limits, request)
        options["processing_kwargs"] = {"text": {"max_length": limit, "truncation": True}}
    if kind == "dense":
        options["normalize_embeddings"] = model.similarity_fn_name == "cosine"
        options["convert_to_tensor"] = True  # numpy has no bf16
    for pack in packs(tokens.ids, runtime):
        texts = [request.texts[row] for row in pack.rows]
        try:
            found = encode(texts, batch_size=len(texts), **options)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(len(texts), error) from error
        if kind == "dense":
            yield Part(pack.rows, dense=found.float().cpu().numpy())
        elif kind == "sparse":
            yield Part(pack.rows, sparse=_rows(found, model.similarity_fn_name == "cosine"))
        else:
            yield Part(pack.rows, multi_vector=[vectors.float().cpu().numpy() for vectors in found])


def _limit(model: Model, limits: dict[Role, int], request: Request) -> int:
    limit = limits[request.role]
    if _fixed(model, request.role) and request.max_length < limit:
        raise UserError(
            f"This checkpoint makes every query {limit} tokens long, the benchmark's limit is {request.max_length}: "
            f"set benchmark.text.max_query_length={limit} or more."
        )
    return min(limit, request.max_length)


def _fixed(model: Model, role: Role) -> bool:
    """Whether queries are filled up with [MASK] to one length."""
    expansion = getattr(model[0], "query_expansion", None)
    return role == "query" and expansion is not None and expansion["strategy"] == "fixed"


def _rows(found: torch.Tensor, unit: bool) -> scipy.sparse.csr_array:
    """[n, vocabulary] float32 from a sparse tensor; `unit`: rows scaled to length 1."""
    found = found.cpu().coalesce()
    (rows, columns), weights = found.indices().numpy(), found.values().float().numpy()
    places = (rows.astype(np.int32), columns.astype(np.int32))
    matrix = scipy.sparse.csr_array((weights, places), shape=tuple(found.shape))
    matrix.eliminate_zeros()
    if unit:
        norms = np.sqrt(matrix.multiply(matrix).sum(axis=1))
        matrix.data /= np.repeat(
            np.maximum(norms, np.finfo(np.float32).tiny), np.diff(matrix.indptr)
        ).astype(np.float32)
    return matrix


def _copied(tokenizer: Any) -> Tokenizer:
    """The fast tokeniser, apart from the library's own, whose truncation and padding settings change with each call."""
    return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
