"""Layout ``osf``: one row per 30-s epoch, CLS token and, where it was saved, the mean of the patches.

Shapes: (n_epochs, 768) CLS; (n_epochs, 2, 768) CLS then mean patch; (n_epochs, 1536) the same side by side; or two
arrays ``cls`` and ``mean_patch``. OSF writes none of its own; these are what its users' extractors write.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.precomputed.files import read_file
from hypnos_bench.encoders.precomputed.rows import Rows, checked, one_dtype
from hypnos_bench.encoders.precomputed.statement import NAN_ROWS, TIMES
from hypnos_bench.encoders.precomputed.times import times_of
from hypnos_bench.spec import EPOCH_S

WIDTH = 768
"""Columns of ``vit_base``, the one that is released."""


def read_osf(path: Path, stated: Mapping[str, Any]) -> Rows:
    """Rows of the ``part`` that is asked for: ``cls``, ``mean-patch`` or ``both`` side by side.

    Raises
    ------
    ValueError
        For other shapes, when the part is not in the file, or for times that are no 30-s epochs.
    """
    part, both = stated.get("part", "cls"), stated.get("part") == "both"
    names = tuple(stated.get("arrays", ("X", "cls", "mean_patch")))
    width = stated.get("dim", 2 * WIDTH if both else WIDTH) // (2 if both else 1)
    found = read_file(path, (*names, *TIMES))
    if "X" in found or "arrays" in stated:
        if names[0] not in found:
            raise ValueError(f"holds no array {names[0]}")
        halves = _halves(found[names[0]], names[0], width)
    else:
        halves = {"cls": found.get("cls"), "mean-patch": found.get("mean_patch")}
    wanted = ("cls", "mean-patch") if both else (part,)
    arrays: dict[str, NDArray[Any]] = {}
    for name in wanted:
        half = halves.get(name)
        if half is None:
            held = ", ".join(n for n, a in halves.items() if a is not None) or "no array X, cls or mean_patch"
            raise ValueError(f"holds {held}; there is no {name} to read: choose another part (cls, mean-patch, both)")
        arrays[name] = checked(name, half, nan_rows=stated.get("nan_rows") == NAN_ROWS)
        if arrays[name].shape[1] != width:
            raise ValueError(f"{name} has {arrays[name].shape[1]} columns, expected {width}")
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"CLS and mean patch differ in rows: { {n: len(a) for n, a in arrays.items()} }")
    arrays = one_dtype(arrays)
    x = np.concatenate([arrays[name] for name in wanted], axis=1)
    start_s, step_s = times_of(found, stated, len(x), layout_step_s=EPOCH_S)
    return Rows({"X": x}, start_s, step_s, short_s=EPOCH_S)


def _halves(x: NDArray[Any], name: str, width: int) -> dict[str, NDArray[Any] | None]:
    if x.ndim == 3 and x.shape[1:] == (2, width):
        return {"cls": x[:, 0], "mean-patch": x[:, 1]}
    if x.ndim == 2 and x.shape[1] == 2 * width:
        return {"cls": x[:, :width], "mean-patch": x[:, width:]}
    if x.ndim == 2 and x.shape[1] == width:
        return {"cls": x, "mean-patch": None}
    raise ValueError(f"{name} has shape {x.shape}; OSF rows are (n_epochs, {width}) or (n_epochs, 2, {width})")
