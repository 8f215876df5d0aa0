"""What a head sees: embedding, demographics, or both side by side."""

from __future__ import annotations

import numpy as np

from hypnos_bench.heads.rows import ArrayRows, RowSource
from hypnos_bench.labelling.demographics import fill_missing
from hypnos_bench.probe.data import Indices, ProbeData
from hypnos_bench.spec import InputSpec


def design(
    data: ProbeData, inputs: InputSpec, train: Indices, test: Indices
) -> tuple[RowSource, RowSource, dict[str, int]]:
    """Features of training and test rows; missing demographics are filled from the training rows alone.

    Returns
    -------
    tuple of RowSource, RowSource, dict
        The last counts the values that were filled, if there are demographics.
    """
    if not inputs.demographics:
        return data.features(train), data.tested_features(test), {}
    if data.demographics is None:
        raise ValueError("demographics stand beside whole recordings only")
    training = np.zeros(len(data.demographics), dtype=bool)
    training[train] = True
    filled, n_filled = fill_missing(data.demographics, training)
    beside = filled.astype(np.float32)
    parts = []
    for index, features in ((train, data.features), (test, data.tested_features)):
        columns = [beside[index]]
        if inputs.embedding:
            source = features(index)
            x = np.empty(source.shape, dtype=np.float32)
            source.read_into(0, x)
            columns.insert(0, x)
        parts.append(ArrayRows(np.concatenate(columns, axis=1)))
    return parts[0], parts[1], {"demographics_filled": n_filled}
