"""How arrays get onto a device, and tensors from it."""

from __future__ import annotations

import numpy as np

from m3eval.lazy import torch


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device. A GPU fetches it from pinned memory without being waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on its way to host memory; it is there once the device has done its work so far."""
    return tensor.to("cpu", non_blocking=True)


def on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in host memory, waited for. It comes through pinned memory, which is faster."""
    arriving = to_host(tensor)
    if tensor.device.type == "cuda":
        torch.cuda.current_stream(tensor.device).synchronize()
    return arriving
