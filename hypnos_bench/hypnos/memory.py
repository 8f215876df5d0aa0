"""Freed memory back to the operating system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Return freed memory where the C library would keep it: glibc, which is Linux.

    Weights are read, folded and rearranged one after the other; the holes they leave add up to more than the model.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
