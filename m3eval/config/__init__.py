"""The Hydra tree as Python: words -> a configuration, checked as a whole -> what the stages use."""

from m3eval.config.checks import check, complete
from m3eval.config.composition import NO_ENCODER, Composition, compose, composition
from m3eval.config.setup import NO_ENCODER_FOLDER, Retrieval, Setup, builder
from m3eval.config.tree import CONFIG_DIR

__all__ = [
    "CONFIG_DIR",
    "NO_ENCODER",
    "NO_ENCODER_FOLDER",
    "Composition",
    "Retrieval",
    "Setup",
    "builder",
    "check",
    "complete",
    "compose",
    "composition",
]
