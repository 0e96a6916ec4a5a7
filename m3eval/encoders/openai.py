"""OpenAI's embeddings through its API, or those of a server that speaks it. Texts are cut here and sent as token ids.

What the API prescribes (its reference, "Create embeddings"): at most 2,048 inputs and 300,000 tokens a request, 8,192 tokens an
input (8,191 for text-embedding-3), none of them empty.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from m3eval.benchmarks.texts import Role
from m3eval.encoders.encoder import Request
from m3eval.encoders.outside import OutsideEncoder, Part, Price
from m3eval.encoders.tokenization import Tokens
from m3eval.errors import UserError
from m3eval.runtime import Runtime

if TYPE_CHECKING:
    import tiktoken

INPUTS, TOKENS = 2048, 300_000  # of a request at most
ANSWERS = 3  # times that an answer of another shape than asked for is asked for again


def load(
    name: str,
    label: str,
    model: str,
    base_url: str,
    encoding: str,
    max_length: int,
    width: int,
    dimensions: int | None,
    query_prefix: str,
    document_prefix: str,
    batch: int,
    concurrency: int,
    retries: int,
    timeout: float,
    price_per_million: float,
    price_source: str,
    cost_limit: float,
    confirm_cost: bool,
    runtime: Runtime,
) -> OutsideEncoder:
    """Opens the service; nothing is sent before the first text. The key is read from OPENAI_API_KEY.

    Raises:
        UserError: openai or tiktoken are not installed, there is no key, or a setting is beyond what the API takes.
    """
    try:
        import openai
        import tiktoken
    except ImportError as error:
        raise UserError(
            "encoder openai needs OpenAI's client and its tokeniser: pip install 'm3eval[openai]'."
        ) from error
    if not (key := os.environ.get("OPENAI_API_KEY")):
        raise UserError("encoder openai needs a key: export OPENAI_API_KEY=...")
    if not 1 <= batch <= INPUTS:
        raise UserError(f"encoder.batch={batch}: the API takes 1 to {INPUTS:,} inputs a request.")
    if runtime.precision == "int8":
        raise UserError("runtime.precision=int8 is for m3eval's own encoders: choose another.")
    try:
        tokeniser = tiktoken.get_encoding(encoding)
    except (
        ValueError,
        OSError,
    ) as error:  # unknown, or out of reach: requests' errors are OSErrors
        raise UserError(
            f"encoder.encoding={encoding}: tiktoken cannot give it ({error}). It fetches an encoding once; without a network "
            "copy its cache from elsewhere and set TIKTOKEN_CACHE_DIR."
        ) from error
    client = openai.OpenAI(api_key=key, base_url=base_url, max_retries=retries, timeout=timeout)
    prefixes: dict[Role, str] = {"query": query_prefix, "document": document_prefix}
    wanted = {} if dimensions is None else {"dimensions": dimensions}

    def send(ids: list[list[int]]) -> list[tuple[int, list[float]]]:
        try:
            found = client.embeddings.create(model=model, input=ids, **wanted).data
        except openai.OpenAIError as error:
            raise UserError(
                f"{base_url} gave no embeddings after {retries} retries: {error}. Finished shards are kept: run again."
            ) from error
        except ValueError:  # the client's word for an answer without vectors
            return []
        return [(entry.index, entry.embedding) for entry in found]

    return OutsideEncoder(
        name,
        label,
        f"openai {openai.__version__} client",
        "dense",
        dimensions or width,
        max_length,
        {
            "family": "openai",
            "model": model,
            "base_url": base_url,
            "encoding": encoding,
            "dimensions": dimensions,
            "limit": max_length,
            "prefixes": prefixes,
        },
        functools.partial(tokenize, tokeniser, prefixes, max_length, runtime.threads),
        functools.partial(compute, send, dimensions or width, batch, concurrency),
        prefixes=prefixes,
        price=Price(price_per_million, price_source, cost_limit, confirm_cost),
    )


def tokenize(
    tokeniser: tiktoken.Encoding,
    prefixes: dict[Role, str],
    limit: int,
    threads: int,
    request: Request,
) -> Tokens:
    """Token ids; there are no special ones. An empty text, which the API refuses, becomes a space."""
    texts = [prefixes[request.role] + text or " " for text in request.texts]
    longest = min(limit, request.max_length)
    ids = tokeniser.encode_ordinary_batch(texts, num_threads=threads)
    return Tokens(
        [np.array(row[:longest], np.int32) for row in ids], sum(len(row) > longest for row in ids)
    )


def compute(
    send: Callable[[list[list[int]]], list[tuple[int, list[float]]]],
    width: int,
    batch: int,
    concurrency: int,
    request: Request,
    tokens: Tokens,
) -> Iterator[Part]:
    """Sends texts, several requests at a time.

    Raises:
        UserError: the service gives up, or gives other vectors than asked for, again and again.
    """

    def ask(rows: np.ndarray) -> Part:
        shapes = []
        for _ in range(ANSWERS):
            found = send([tokens.ids[row].tolist() for row in rows])
            widths = {len(vector) for _, vector in found}
            if sorted(index for index, _ in found) == list(range(len(rows))) and widths == {width}:
                return Part(
                    rows, dense=np.array([vector for _, vector in sorted(found)], np.float32)
                )
            shapes.append(
                f"{len(found)} of {' and '.join(map(str, sorted(widths))) or 'no'} numbers"
            )
        raise UserError(
            f"Asked for {len(rows)} vectors of {width} numbers, the service gave {', '.join(shapes)}: is encoder.width= right?"
        )

    with ThreadPoolExecutor(concurrency, "request") as pool:
        yield from pool.map(ask, requests(tokens.lengths, batch))


def requests(lengths: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """Cuts [n] texts into runs of at most `batch` of them and as many tokens as a request may have."""
    start, total = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if i > start and (i - start == batch or total + length > TOKENS):
            yield np.arange(start, i)
            start, total = i, 0
        total += length
    yield np.arange(start, len(lengths))
