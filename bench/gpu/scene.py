"""What every question reads: the device, a checkpoint in BGE-M3's layout, and sizes of work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import spread
from m3eval.encoders import m3
from m3eval.encoders.engine.packs import Pack
from m3eval.encoders.ours import Encoder
from m3eval.lazy import torch
from m3eval.manifests import Representation
from m3eval.runtime import settle

Row = tuple[str, dict[str, Any]]  # its name, and figures by name
Answer = Callable[["Scene"], Iterator[Row]]

DENSE: list[Representation] = ["dense"]
WITH_SPARSE: list[Representation] = ["dense", "sparse"]
ALL: list[Representation] = ["dense", "sparse", "multi_vector"]
SHAPE, TINY = (24, 1024, 16), (2, 64, 2)  # layers, width, heads
BUDGET, TINY_BUDGET = 32_768, 512  # tokens of a pack


@dataclass(frozen=True)
class Scene:
    """Where and on what the questions are answered."""

    device: str  # cpu, cuda or cuda:NUMBER
    tiny: bool  # a small model and little work, to try it all
    folder: str  # the checkpoint lies below
    rounds: int = 3

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.startswith("cuda")

    @property
    def precision(self) -> str:
        """What is measured in: fp16 on a GPU."""
        return "fp16" if self.cuda else "fp32"

    @property
    def dtype(self) -> torch.dtype:
        """The same as torch knows it."""
        return torch.float16 if self.cuda else torch.float32

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, width and attention heads of the model."""
        return TINY if self.tiny else SHAPE

    @property
    def budget(self) -> int:
        """Tokens of a pack, where a question does not vary them."""
        return TINY_BUDGET if self.tiny else BUDGET

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's folder, which is made when it is first asked for."""
        from bench import material  # transformers, which not every answer needs

        return material.checkpoint(Path(self.folder), *self.shape)

    def size(self, whole: int) -> int:
        """So many texts; a few in a tiny scene."""
        return max(4, whole // 800) if self.tiny else whole

    def length(self, whole: int) -> int:
        """So many tokens of a text; an eighth in a tiny scene, and 128 at most."""
        return min(128, whole // 8) if self.tiny else whole

    def encoder(self, precision: str | None = None, engine: str = "auto") -> Encoder:
        """BGE-M3 with the checkpoint's weights, by m3eval."""
        runtime = settle(
            self.device,
            precision or self.precision,
            "auto",
            self.budget,
            20_000,
            50_000,
            engine=engine,
        )
        return m3.load("m3", "M3", str(self.checkpoint), None, runtime)

    def pack(self, lengths: np.ndarray) -> Pack:
        """A pack of texts of made-up tokens.

        Args:
            lengths: [B] tokens of each text, longest first.
        """
        ids = np.random.default_rng(0).integers(4, 250_000, int(lengths.sum()))
        starts = np.cumsum(lengths) - lengths
        ids[starts], ids[starts + lengths - 1] = 0, 2
        return Pack(np.arange(len(lengths)), lengths, ids)

    def operations(self, lengths: np.ndarray) -> float:
        """The floating-point operations that texts of these lengths take.

        Args:
            lengths: [B] tokens of each text.
        """
        layers, width, _ = self.shape
        sizes = lengths.astype(np.float64)
        return float(layers * (24 * width**2 * sizes + 4 * width * sizes**2).sum())

    def wait(self) -> None:
        """Until the device has done its work."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any], repetitions: int = 10) -> dict[str, float]:
        """Median, min and max of calls that follow each other, after two that do not count."""
        taken = []
        for _ in range(2 + (2 if self.tiny else repetitions)):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - started)
        return spread(taken[2:])

    def speed(self, seconds: float, lengths: np.ndarray) -> dict[str, float]:
        """Tokens and operations per second. `asking` makes a share of the card's rate of these.

        Args:
            seconds: what texts of these lengths took.
            lengths: [B] tokens of each text.
        """
        return {
            "tokens_per_second": round(int(lengths.sum()) / seconds),
            "tflop_per_second": float(f"{self.operations(lengths) / seconds / 1e12:.4g}"),
        }


def with_budget(encoder: Encoder, tokens: int) -> Encoder:
    """The same encoder, its model loaded once, with packs of another size."""
    encoder.backbone.runtime = replace(encoder.backbone.runtime, token_budget=tokens)
    return encoder


def cosines(ours: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Mean and lowest cosine of [n, d] vectors to others."""
    ours, exact = ours.astype(np.float64), exact.astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(exact, axis=1)
    values = (ours * exact).sum(1) / lengths
    return {"mean_cosine": float(values.mean()), "lowest_cosine": float(values.min())}
