"""OpenAI's embeddings through its API, or those of a server that speaks it.

Texts are cut here and sent as token ids. What the API prescribes (its reference, "Create
embeddings"): at most 2,048 inputs and 300,000 tokens a request, 8,192 tokens an input (8,191 for
text-embedding-3), none of them empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from m3eval.encoders.encoder import Prefixes, Price, Request
from m3eval.encoders.engine.tokenization import Tokens
from m3eval.encoders.outside import OutsideEncoder, Part
from m3eval.errors import UserError
from m3eval.kinds import Count, NotNegative, Positive, whole
from m3eval.runtime import Runtime

if TYPE_CHECKING:
    import tiktoken

INPUTS, TOKENS = 2048, 300_000  # of a request at most
ATTEMPTS = 3  # at an answer of the shape that was asked for
NEEDS = "encoder openai needs OpenAI's client and its tokeniser: pip install 'm3eval[openai]'."


def load(
    *,
    name: str,
    label: str,
    model: str,
    base_url: str,
    encoding: str,
    max_length: Count,
    width: Count,
    dimensions: Count | None,
    query_prefix: str,
    document_prefix: str,
    batch: Count,
    concurrency: Annotated[int, whole(1, 1000)],
    retries: Annotated[int, whole(0, 1000)],
    timeout: Positive,
    price_per_million: NotNegative,
    price_source: str,
    cost_limit: NotNegative,
    confirm_cost: bool,
    runtime: Runtime,
) -> OutsideEncoder:
    """Opens the service; nothing is sent before the first text.

    The key is read from OPENAI_API_KEY. Settings: see conf/encoder/openai.yaml.

    Raises:
        UserError: openai or tiktoken are not installed, there is no key, or a setting is beyond
            what the API takes.
    """
    service = Service(
        model=model,
        base_url=base_url,
        encoding=encoding,
        max_length=max_length,
        width=dimensions or width,
        dimensions=dimensions,
        prefixes={"query": query_prefix, "document": document_prefix},
        batch=batch,
        concurrency=concurrency,
        retries=retries,
        timeout=timeout,
        threads=runtime.threads,
    )
    return OutsideEncoder(
        name=name,
        label=label,
        engine=f"openai {service.client_version} client",
        representation="dense",
        width=service.width,
        limit=max_length,
        identity=service.identity,
        backend=service,
        prefixes=service.prefixes,
        price=Price(price_per_million, price_source, cost_limit, confirm_cost),
    )


@dataclass(frozen=True)
class Service:
    """A service that speaks OpenAI's API, and how it is asked."""

    model: str
    base_url: str
    encoding: str  # tiktoken's name of the tokeniser
    max_length: int  # tokens that the model reads
    width: int  # numbers of a vector
    dimensions: int | None  # ask for vectors cut to so many; None: whole ones
    prefixes: Prefixes
    batch: int  # texts of a request
    concurrency: int  # requests at a time
    retries: int  # of a request that met a rate limit or an error of the server
    timeout: float  # seconds for an answer
    threads: int  # that tokenise

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= INPUTS:
            raise UserError(
                f"encoder.batch={self.batch}: the API takes 1 to {INPUTS:,} inputs a request."
            )
        _ = self.client, self.tokeniser  # whatever is lacking is said before anything is done

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the vectors, as far as it can be known."""
        return {
            "family": "openai",
            "model": self.model,
            "base_url": self.base_url,
            "encoding": self.encoding,
            "dimensions": self.dimensions,
            "limit": self.max_length,
            "prefixes": self.prefixes,
        }

    @cached_property
    def client(self) -> Any:
        """OpenAI's client. Raises UserError where it is not installed, or there is no key."""
        try:
            import openai
        except ImportError as error:
            raise UserError(NEEDS) from error
        if not (key := os.environ.get("OPENAI_API_KEY")):
            raise UserError("encoder openai needs a key: export OPENAI_API_KEY=...")
        return openai.OpenAI(
            api_key=key, base_url=self.base_url, max_retries=self.retries, timeout=self.timeout
        )

    @property
    def client_version(self) -> str:
        """Of OpenAI's client."""
        import openai

        return openai.__version__

    @cached_property
    def tokeniser(self) -> tiktoken.Encoding:
        """The model's tokeniser. Raises UserError where it is unknown or out of reach."""
        try:
            import tiktoken
        except ImportError as error:
            raise UserError(NEEDS) from error
        try:
            return tiktoken.get_encoding(self.encoding)
        except (ValueError, OSError) as error:  # unknown, or a request's error
            raise UserError(
                f"encoder.encoding={self.encoding}: tiktoken cannot give it ({error}). It fetches "
                "an encoding once; without a network copy its cache from elsewhere and set "
                "TIKTOKEN_CACHE_DIR."
            ) from error

    def tokenize(self, request: Request) -> Tokens:
        """Token ids, none of them special. An empty text, which the API refuses, is a space."""
        texts = [self.prefixes[request.role] + text or " " for text in request.texts]
        longest = min(self.max_length, request.max_length)
        ids = self.tokeniser.encode_ordinary_batch(texts, num_threads=self.threads)
        truncated = sum(len(row) > longest for row in ids)
        return Tokens([np.array(row[:longest], np.int32) for row in ids], truncated)

    def compute(self, request: Request, tokens: Tokens) -> Iterator[Part]:
        """Sends texts, several requests at a time.

        Raises:
            UserError: the service gives up, or gives other vectors than asked for, again and again.
        """
        with ThreadPoolExecutor(self.concurrency, "request") as pool:
            batches = requests(tokens.lengths, self.batch)
            yield from pool.map(lambda rows: self._ask(tokens, rows), batches)

    def _ask(self, tokens: Tokens, rows: np.ndarray) -> Part:
        """The vectors of the texts at `rows`."""
        shapes = []
        for _ in range(ATTEMPTS):
            answer = self._send([tokens.ids[row].tolist() for row in rows])
            widths = {len(vector) for _, vector in answer}
            numbers = sorted(index for index, _ in answer)
            if numbers == list(range(len(rows))) and widths == {self.width}:
                vectors = np.array([vector for _, vector in sorted(answer)], np.float32)
                return Part(rows, dense=vectors)
            shapes.append(
                f"{len(answer)} of {' and '.join(map(str, sorted(widths))) or 'no'} numbers"
            )
        raise UserError(
            f"Asked for {len(rows)} vectors of {self.width} numbers, the service gave "
            f"{', '.join(shapes)}: is encoder.width= right?"
        )

    def _send(self, ids: list[list[int]]) -> list[tuple[int, list[float]]]:
        """Number and vector of each text; nothing where the answer has no vectors."""
        import openai

        options = {} if self.dimensions is None else {"dimensions": self.dimensions}
        try:
            answer = self.client.embeddings.create(model=self.model, input=ids, **options)
        except openai.OpenAIError as error:
            raise UserError(
                f"{self.base_url} gave no embeddings after {self.retries} retries: {error}. "
                "Finished shards are kept: run again."
            ) from error
        except ValueError:  # the client's word for an answer without vectors
            return []
        return [(entry.index, entry.embedding) for entry in answer.data]


def requests(lengths: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """Cuts [n] texts into runs of at most `batch`, and of as many tokens as a request may have."""
    start, total = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if i > start and (i - start == batch or total + length > TOKENS):
            yield np.arange(start, i)
            start, total = i, 0
        total += length
    yield np.arange(start, len(lengths))
