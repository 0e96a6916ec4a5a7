"""What the benchmarks and the hub must not import before something is read."""

import subprocess
import sys

MODULES = [
    "m3eval.hub",
    *(
        f"m3eval.benchmarks.{name}"
        for name in ("belebele", "demo", "folder", "miracl", "mkqa", "mldr")
    ),
    "m3eval.benchmarks.narrativeqa",
    "m3eval.benchmarks.texts",
    "m3eval.benchmarks.counts",
    "m3eval.reference.published",
]


def test_no_large_library_is_imported_with_them():
    command = f"import sys, {', '.join(MODULES)}; print(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "pyarrow", "huggingface_hub", "httpx", "requests", "torch"} & set(printed)
