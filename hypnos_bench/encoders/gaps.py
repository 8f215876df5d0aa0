"""Rows for which not every channel was recorded: cutting a recording at its gaps, and putting the rows back.

A second without signal is never made up. Where a modality has none it is absent, as in a recording that lacks the
channel altogether, so the recording falls into stretches with the same modalities throughout. Each is embedded by
itself: its context starts anew, as at the start of a night.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.float32]]
"""Preprocessed signals by modality, NaN where they are missing."""

MAX_OWN_GAPS = 0.05
"""Share of the rows that one modality may lack although others have them; with more it is left out altogether."""


class Stretch(NamedTuple):
    """Rows first to stop, for which the same modalities have a signal."""

    first: int
    stop: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Pieces:
    """A recording cut at its gaps: rows in all, the stretches that can be embedded, and the signals of each.

    Without gaps the signals are those of the recording, and `stretches` is ``None``.
    """

    n_rows: int
    stretches: tuple[Stretch, ...] | None
    signals: tuple[Arrays, ...]


def has_gaps(arrays: Arrays) -> bool:
    """Whether any sample is missing."""
    return not all(bool(np.isfinite(array).all()) for array in arrays.values())


def lopsided(arrays: Arrays, hops: Mapping[str, int]) -> dict[str, int]:
    """Modalities with too many gaps of their own, which would cut the others into pieces, and rows they lack.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    hops : mapping of str to int
        Samples per row of each modality.
    """
    n = min(len(array) // hops[name] for name, array in arrays.items())
    lacking = {name: int((~_recorded(array, hops[name], n)).sum()) for name, array in arrays.items()}
    fewest = min(lacking.values())
    return {name: k for name, k in lacking.items() if k == n or k - fewest > MAX_OWN_GAPS * n}


def cut(arrays: Arrays, hops: Mapping[str, int], n_rows: int, min_rows: int) -> Pieces:
    """Cut a recording at its gaps, into stretches of at least `min_rows` rows; shorter ones are left out.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    hops : mapping of str to int
        Samples per row of each modality.
    n_rows, min_rows : int
        Rows of the recording, and fewest that can be embedded.
    """
    if not has_gaps(arrays):
        return Pieces(n_rows, None, (arrays,))
    recorded = {name: _recorded(array, hops[name], n_rows) for name, array in arrays.items()}
    there = np.stack(list(recorded.values()))  # modalities x rows
    changes = np.flatnonzero((there[:, 1:] != there[:, :-1]).any(axis=0)) + 1
    found = []
    for first, stop in pairwise((0, *changes.tolist(), n_rows)):
        names = tuple(name for name, row in recorded.items() if row[first])
        if names and stop - first >= min_rows:
            found.append(Stretch(first, stop, names))
    signals = tuple({k: arrays[k][s.first * hops[k] : s.stop * hops[k]] for k in s.names} for s in found)
    return Pieces(n_rows, tuple(found), signals)


def join(
    pieces: Pieces, embedded: Sequence[Mapping[str, NDArray[np.float16]]], names: Sequence[str]
) -> Mapping[str, NDArray[np.float16]]:
    """Rows of the whole recording under `names`, NaN where there are none.

    Parameters
    ----------
    pieces : Pieces
        At least one.
    embedded : sequence of mapping of str to ndarray
        Embedding of each piece.
    names : sequence of str
        Arrays wanted, in order.
    """
    if pieces.stretches is None:
        return embedded[0]
    width = next(iter(embedded[0].values())).shape[1]
    whole = {name: np.full((pieces.n_rows, width), np.nan, np.float16) for name in names}
    for stretch, part in zip(pieces.stretches, embedded, strict=True):
        for name, rows in part.items():
            whole[name][stretch.first : stretch.stop] = rows
    return whole


def _recorded(array: NDArray[np.float32], hop: int, n_rows: int) -> NDArray[np.bool_]:
    """Rows whose samples are all there; the last may be shorter than the others."""
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(array))])
    edges = np.minimum(np.arange(n_rows + 1) * hop, len(array))
    return np.asarray(np.diff(missing[edges]) == 0)
