"""What is known of models, devices and texts that are not at hand, with sources; read by plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m3eval.files import read_json
from m3eval.records import record

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a transformer's matrices."""

    layers: int
    width: int
    inner: int  # width between the two matrices of a feed-forward layer
    vocabulary: int

    def flops(self, tokens: float) -> float:
        """Floating-point operations per token of a text of so many tokens.

        Of the matrix products of all layers: four of width x width, two of width x inner, and the
        two of attention with all tokens of the text.
        """
        matrices = 2 * (4 * self.width**2 + 2 * self.width * self.inner)
        return self.layers * (matrices + 4 * self.width * tokens)

    @property
    def weights(self) -> int:
        """How many weights there are, biases and norms aside."""
        of_layer = 4 * self.width**2 + 2 * self.width * self.inner
        return self.layers * of_layer + self.vocabulary * self.width


@dataclass(frozen=True)
class Lengths:
    """Tokens of texts like a benchmark's, by language: lengths.json."""

    benchmark: str
    tokens: str  # how they were counted
    command: str
    documents: dict[str, float]
    documents_of: dict[str, str]  # the set that was counted
    queries: dict[str, float]


# Checkpoint -> its sizes, as its config.json states them.
MODELS = {
    "BAAI/bge-m3": ModelSizes(24, 1024, 4096, 250_002),
    "intfloat/multilingual-e5-large": ModelSizes(24, 1024, 4096, 250_002),
    "intfloat/multilingual-e5-small": ModelSizes(12, 384, 1536, 250_037),
}
# Device -> TFLOP/s in 16 bits, dense, as NVIDIA's data sheets state them.
DEVICES = {
    "H200": 989,
    "H100": 989,
    "A100": 312,
    "A800": 312,
    "L40S": 362,
    "L4": 121,
    "A10": 125,
    "V100": 125,
    "T4": 65,
}


def lengths() -> Lengths:
    """Tokens of texts like MIRACL's, measured by `bench/lengths.py`."""
    return record(read_json(FOLDER / "lengths.json"), Lengths)
