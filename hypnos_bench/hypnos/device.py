"""Where to compute: the best device present, or the one asked for."""

from __future__ import annotations

import torch

from hypnos_bench.errors import UsageError


def pick_device(name: str | torch.device = "auto") -> tuple[torch.device, str]:
    """Pick a device and say why in one line.

    Parameters
    ----------
    name : str or torch.device
        ``"auto"`` takes CUDA, else Apple's MPS, else the CPU; anything else is what torch understands
        (``"cpu"``, ``"cuda:1"``).

    Returns
    -------
    device : torch.device
    reason : str

    Raises
    ------
    UsageError
        When the device asked for is unknown or not present.
    """
    if str(name) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"cuda: {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "mps: Apple GPU"
        return torch.device("cpu"), "cpu: no CUDA or MPS device found"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {str(name)!r} is not supported; use auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for, but torch finds no CUDA device; use --device auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device '{device}' was asked for, but there are only {torch.cuda.device_count()} CUDA devices"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' was asked for, but torch finds no Apple GPU; use --device auto or cpu")
    return device, f"{device}: asked for"
