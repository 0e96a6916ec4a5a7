"""The Hydra tree as Python: words -> a configuration, checked as a whole -> what the stages use."""

from m3eval.config.checks import accept, check
from m3eval.config.composition import NO_ENCODER, Composition, compose, composition
from m3eval.config.schema import Retrieval
from m3eval.config.setup import NO_ENCODER_FOLDER, Setup, builder
from m3eval.config.tree import CONFIG_DIR

__all__ = [
    "CONFIG_DIR",
    "NO_ENCODER",
    "NO_ENCODER_FOLDER",
    "Composition",
    "Retrieval",
    "Setup",
    "accept",
    "builder",
    "check",
    "compose",
    "composition",
]
