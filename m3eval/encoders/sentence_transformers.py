"""Whatever sentence-transformers reads: dense, sparse and multi-vector checkpoints.

The library computes them itself. What a checkpoint is, its own files say: `model_type` in
config_sentence_transformers.json (PyLate writes "ColBERT" there), or the architecture HF_ColBERT of
Stanford's. Query and document markers, expansion with [MASK] and the list of words without vectors
come from the checkpoint too. Version 6 reads PyLate's and Stanford's checkpoints, so neither of
their libraries is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3eval.benchmarks.texts import Role
from m3eval.encoders.checkpoint import hashes, locate
from m3eval.encoders.encoder import Prefixes, Request
from m3eval.encoders.engine.packs import packs
from m3eval.encoders.engine.pretrained import load_strictly, require_embeddings
from m3eval.encoders.engine.shape import longest
from m3eval.encoders.engine.tokenization import Tokenization, Tokens
from m3eval.encoders.examination import examine, read_object, require_whole
from m3eval.encoders.outside import OutsideEncoder, Part, out_of_memory
from m3eval.encoders.prompts import own_prompts
from m3eval.errors import UserError
from m3eval.kinds import Count
from m3eval.lazy import torch, transformers
from m3eval.manifests import Representation
from m3eval.runtime import Runtime

if TYPE_CHECKING:
    import scipy.sparse
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder

    Model = SentenceTransformer | SparseEncoder | MultiVectorEncoder

# `model_type` of a checkpoint -> what it gives.
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


def load(
    name: str,
    label: str,
    checkpoint: str,
    revision: str | None,
    query_prefix: str | None,
    document_prefix: str | None,
    max_length: Count | None,
    runtime: Runtime,
) -> OutsideEncoder:
    """Loads a checkpoint into the class of sentence-transformers that it was saved from.

    The model is loaded at once: prompts and lengths, which are part of the identity, only the
    library knows. Dense and sparse vectors of a checkpoint whose similarity is the cosine are
    scaled to length 1, for we compare by inner product. Settings: see
    conf/encoder/sentence_transformers.yaml.

    Raises:
        UserError: the library is not installed, the checkpoint is out of reach, not one of its or
            incomplete, or its similarity is no inner product.
    """
    try:
        import sentence_transformers as library
    except ImportError as error:
        raise UserError(
            "encoder sentence_transformers needs: pip install 'm3eval[sentence-transformers]'."
        ) from error
    folder = locate(checkpoint, revision)
    require_whole(folder)
    kind = representation(folder)
    for place in transformers_of(folder):
        examine(place)
    engine = f"sentence-transformers {version('sentence-transformers')}"
    transformers.utils.logging.disable_progress_bar()  # m3eval draws its own
    # `require_weights` says what a checkpoint lacks.
    transformers.utils.logging.set_verbosity_error()
    runtime.set_up_torch()
    options = {"dtype": runtime.dtype}
    try:
        model: Model = getattr(library, CLASSES[kind])(
            str(folder), device=runtime.device, model_kwargs=options
        )
    except Exception as error:  # the library raises many kinds
        raise UserError(f"{folder} cannot be loaded by {engine}: {error}") from error
    require_weights(model, folder)
    require_tokens(model, folder)
    if kind != "multi_vector" and model.similarity_fn_name not in ("cosine", "dot"):
        raise UserError(
            f"{folder} compares vectors by {model.similarity_fn_name}; m3eval by inner product or "
            "cosine."
        )
    own = own_prompts(model.prompts)
    prefixes: Prefixes = {
        "query": own["query"] if query_prefix is None else query_prefix,
        "document": own["document"] if document_prefix is None else document_prefix,
    }
    limits = lengths(model, max_length)
    if not getattr(model.tokenizer, "is_fast", False):
        raise UserError(
            f"{folder} has only a slow tokeniser ({type(model.tokenizer).__name__}): add its "
            "tokenizer.json."
        )
    if limits["query"] != limits["document"]:
        engine += f", queries of at most {limits['query']} tokens"
    return OutsideEncoder(
        name=name,
        label=label,
        engine=engine,
        representation=kind,
        width=model.get_embedding_dimension() or 0,
        limit=limits["document"],
        identity={
            "family": "sentence_transformers",
            "files": hashes(folder, nested=True),
            "representation": kind,
            "prefixes": prefixes,
            "limits": limits,
            "precision": runtime.precision,
        },
        backend=LibraryModel(model, kind, prefixes, limits, runtime),
        device=runtime.device,
        prefixes=prefixes,
    )


def representation(folder: Path) -> Representation:
    """What a checkpoint gives, as its files say.

    Raises:
        UserError: they do not. The library would put mean pooling or a random projection behind any
            transformer, and read Stanford's ColBERT with markers and lengths of its own.
    """

    def read(name: str) -> dict[str, Any]:
        return read_object(folder / name) if (folder / name).exists() else {}

    if "HF_ColBERT" in (read("config.json").get("architectures") or []):
        if not (folder / "artifact.metadata").exists():
            raise UserError(
                f"{folder / 'artifact.metadata'} is missing, which names the markers and lengths "
                "of a ColBERT of Stanford's: copy it from where the checkpoint is from."
            )
        return "multi_vector"
    if not (folder / "modules.json").exists():
        raise UserError(
            f"{folder} has no modules.json, so it does not say what comes after the transformer. A "
            "dense one that is pooled by its first token or the mean: encoder=pooled."
        )
    kind = read("config_sentence_transformers.json").get("model_type") or "SentenceTransformer"
    if kind not in KINDS:
        raise UserError(
            f"{folder} is a {kind} of sentence-transformers; texts are encoded by "
            f"{', '.join(KINDS)}."
        )
    return KINDS[kind]


def transformers_of(folder: Path) -> list[Path]:
    """The folders of a checkpoint's transformers: itself or within it, sorted."""
    return sorted(
        path.parent for path in folder.rglob("config.json") if "model_type" in read_object(path)
    )


def require_tokens(model: Model, folder: Path) -> None:
    """Refuses a tokeniser that gives ids for which a transformer has no embeddings."""
    for module in model.modules():
        embeddings: Any = getattr(getattr(module, "auto_model", None), "get_input_embeddings", None)
        tokenizer: Any = getattr(module, "tokenizer", None)
        if embeddings is not None and getattr(tokenizer, "is_fast", False):
            require_embeddings(tokenizer.backend_tokenizer, embeddings().num_embeddings, folder)


def require_weights(model: Model, folder: Path) -> None:
    """Refuses a checkpoint that lacks weights of its transformer.

    The library draws such weights at random and does not tell. The names of what is there are
    compared again, on torch's meta device, where no weight is kept.

    Raises:
        UserError: names the weights.
    """
    from sentence_transformers.base.modules import Transformer

    bodies = [module.auto_model for module in model.modules() if isinstance(module, Transformer)]
    architectures = {type(body.config): type(body) for body in bodies}
    for place in transformers_of(folder):
        architecture = architectures.get(type(transformers.AutoConfig.from_pretrained(place)))
        if architecture and any([*place.glob("*.safetensors"), *place.glob("pytorch_model*.bin")]):
            read = functools.partial(
                architecture.from_pretrained, place, device_map="meta", output_loading_info=True
            )
            load_strictly(read, place)


def lengths(model: Model, wanted: int | None) -> dict[Role, int]:
    """Tokens that a query and a document may have.

    Args:
        model: of the library.
        wanted: tokens; None: what the checkpoint says, never more than it has positions.

    Raises:
        UserError: more is wanted than the checkpoint has positions.
    """
    first = model[0]
    has_positions = getattr(model.config, "max_position_embeddings", None)
    most = longest(model.config) if has_positions else 10**9
    own = min(model.max_seq_length or most, most)
    if wanted is not None and wanted > most:
        raise UserError(
            f"encoder.max_length={wanted}: the checkpoint has positions for {most} tokens."
        )
    document = min(wanted or getattr(first, "document_length", None) or own, most)
    expansion = getattr(first, "query_expansion", None)
    if expansion is not None and expansion["strategy"] == "fixed":
        return {"query": expansion["length"], "document": document}
    query = min(getattr(first, "query_length", None) or wanted or own, most)
    return {"query": query, "document": document}


@dataclass
class LibraryModel:
    """A model of the library, and how it is called."""

    model: Model
    kind: Representation
    prefixes: Prefixes
    limits: dict[Role, int]
    runtime: Runtime

    @functools.cached_property
    def tokenization(self) -> Tokenization:
        """Its tokeniser apart from the library's own, whose settings change with each call."""
        from tokenizers import Tokenizer

        state = self.model.tokenizer.backend_tokenizer.to_str()
        return Tokenization(lambda: Tokenizer.from_str(state))

    def tokenize(self, request: Request) -> Tokens:
        """Token ids as the library gives them to the model, but for [MASK]s of query expansion."""
        prefix = self.prefixes[request.role]
        return self.tokenization([prefix + text for text in request.texts], self._limit(request))

    def compute(self, request: Request, tokens: Tokens) -> Iterator[Part]:
        """Encodes texts of like length together."""
        model = self.model
        encode: Any = model.encode_query if request.role == "query" else model.encode_document
        prompt = self.prefixes[request.role]
        options: dict[str, Any] = {"prompt": prompt, "show_progress_bar": False}
        if not self._has_fixed_length(request.role):
            text_settings = {"max_length": self._limit(request), "truncation": True}
            options["processing_kwargs"] = {"text": text_settings}
        if self.kind == "dense":
            options["normalize_embeddings"] = model.similarity_fn_name == "cosine"
            options["convert_to_tensor"] = True  # numpy has no bf16
        for pack in packs(tokens.ids, self.runtime):
            texts = [request.texts[row] for row in pack.rows]
            try:
                output = encode(texts, batch_size=len(texts), **options)
            except torch.OutOfMemoryError as error:
                raise out_of_memory(len(texts), error) from error
            yield self._part(pack.rows, output)

    def _part(self, rows: np.ndarray, output: Any) -> Part:
        """What the library gave for the texts at `rows`, as arrays."""
        if self.kind == "dense":
            return Part(rows, dense=output.float().cpu().numpy())
        if self.kind == "sparse":
            unit = self.model.similarity_fn_name == "cosine"
            return Part(rows, sparse=_compressed_rows(output, unit))
        return Part(rows, multi_vector=[vectors.float().cpu().numpy() for vectors in output])

    def _limit(self, request: Request) -> int:
        limit = self.limits[request.role]
        if self._has_fixed_length(request.role) and request.max_length < limit:
            raise UserError(
                f"This checkpoint makes every query {limit} tokens long, the benchmark's limit is "
                f"{request.max_length}: set benchmark.text.max_query_length={limit} or more."
            )
        return min(limit, request.max_length)

    def _has_fixed_length(self, role: Role) -> bool:
        """Whether texts of a role, which are queries, are filled up with [MASK]s to one length."""
        expansion = getattr(self.model[0], "query_expansion", None)
        return role == "query" and expansion is not None and expansion["strategy"] == "fixed"


def _compressed_rows(tensor: torch.Tensor, unit: bool) -> scipy.sparse.csr_array:
    """[n, vocabulary] float32 from a sparse tensor; `unit`: rows scaled to length 1."""
    import scipy.sparse

    tensor = tensor.cpu().coalesce()
    (rows, columns), weights = tensor.indices().numpy(), tensor.values().float().numpy()
    places = (rows.astype(np.int32), columns.astype(np.int32))
    matrix = scipy.sparse.csr_array((weights, places), shape=tuple(tensor.shape))
    matrix.eliminate_zeros()
    if unit:
        norms = np.sqrt(matrix.multiply(matrix).sum(axis=1))
        norms = np.maximum(norms, np.finfo(np.float32).tiny)
        matrix.data /= np.repeat(norms, np.diff(matrix.indptr)).astype(np.float32)
    return matrix
