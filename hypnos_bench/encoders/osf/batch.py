"""Epochs of several recordings side by side, as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.base import Prepared
from hypnos_bench.encoders.osf.layout import EPOCH_SAMPLES, LEADS
from hypnos_bench.encoders.osf.slots import SLOTS


def recorded(prepared: Prepared) -> NDArray[np.bool_]:
    """Epochs in which any channel was recorded, shape (n_epochs,)."""
    starts = np.array([array[::EPOCH_SAMPLES] for array in prepared.arrays.values()])
    return np.asarray(~np.isnan(starts).all(axis=0))


def epochs(several: Sequence[Prepared], places: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """Epochs of recordings, in the order asked.

    Parameters
    ----------
    several : sequence of Prepared
        With arrays by slot, NaN in epochs that were not recorded.
    places : sequence of (int, int)
        Recording and row.

    Returns
    -------
    ndarray of float32, shape (n_places, 12, 1920)
        Zero where nothing was recorded.
    """
    stacked = np.zeros((len(places), LEADS, EPOCH_SAMPLES), np.float32)
    for epoch, (i, row) in zip(stacked, places, strict=True):
        start = row * EPOCH_SAMPLES
        for lead, slot in enumerate(SLOTS):
            array = several[i].arrays.get(slot.name)
            if array is not None and not np.isnan(array[start]):
                epoch[lead] = array[start : start + EPOCH_SAMPLES]
    return stacked
