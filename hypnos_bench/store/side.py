"""Side files of cells: results per recording, and per unit where units are many, that paired tests need.

They hold person-level rows: cohort agreements forbid to publish them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Shapes = Mapping[str, tuple[type[np.generic], tuple[int, ...]]]


class Side(Protocol):
    """What the cell store asks of a side file."""

    KIND: ClassVar[str]

    @property
    def recordings(self) -> Sequence[str]:
        """Test recordings."""
        ...

    @property
    def persons(self) -> Sequence[str]:
        """Who was recorded, one per recording."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array that is there, by field name."""
        ...

    def words(self) -> dict[str, list[str]]:
        """Every list of texts, by field name."""
        ...

    def problem(self) -> str | None:
        """Say which part contradicts another, or ``None``."""
        ...


class _Fields:
    """Arrays and lists of texts of a dataclass, and the checks that all side files share."""

    TEXTS: ClassVar[tuple[str, ...]] = ("recordings", "persons")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array that is there, by field name."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in self.TEXTS]  # type: ignore[arg-type]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def words(self) -> dict[str, list[str]]:
        """Every list of texts, by field name."""
        return {name: list(getattr(self, name)) for name in self.TEXTS}

    def _mismatch(self, shapes: Shapes) -> str | None:
        recordings, persons = (self.words()[name] for name in ("recordings", "persons"))
        if len(persons) != len(recordings) or len(set(recordings)) != len(recordings):
            return "recordings are not unique or lack a person each"
        for name, array in self.arrays().items():
            dtype, shape = shapes[name]
            if array.dtype != dtype or array.shape != shape:
                return f"{name} is {array.dtype} {array.shape} instead of {np.dtype(dtype)} {shape}"
        return None


@dataclass(frozen=True)
class ClassificationSide(_Fields):
    """Per-recording and per-unit results of a classification cell.

    Parameters
    ----------
    recordings, persons : sequence of str, length R
        Test recordings and who was recorded.
    confusion : ndarray of int64, shape (R, C, C)
        Counts per recording, [true, predicted].
    unit_recording : ndarray of int32, shape (n,)
        Index into `recordings`.
    y_true, y_pred : ndarray of int8, shape (n,)
    proba : ndarray of float16, shape (n, C), optional
    score : ndarray of float32, shape (n,), optional
        For binary tasks: the positive class's log-odds, at more precision than `proba`. One of both must be there.
    share : ndarray of float32, shape (n,), optional
        Of windows: the share that the positive class covers (the AF fraction).
    fold : ndarray of int8 or int32, shape (n,), optional
        Which fold's fit made the prediction; not there when one fit made them all.
    """

    KIND: ClassVar[str] = "classification"

    recordings: Sequence[str]
    persons: Sequence[str]
    confusion: NDArray[np.int64]
    unit_recording: NDArray[np.int32]
    y_true: NDArray[np.int8]
    y_pred: NDArray[np.int8]
    proba: NDArray[np.float16] | None = None
    score: NDArray[np.float32] | None = None
    share: NDArray[np.float32] | None = None
    fold: NDArray[np.int8] | NDArray[np.int32] | None = None

    def problem(self) -> str | None:
        """Say which part contradicts another, or ``None``."""
        n, n_classes = len(self.y_true), self.confusion.shape[-1]
        mismatch = self._mismatch(
            {
                "confusion": (np.int64, (len(self.recordings), n_classes, n_classes)),
                "unit_recording": (np.int32, (n,)),
                "y_true": (np.int8, (n,)),
                "y_pred": (np.int8, (n,)),
                "proba": (np.float16, (n, n_classes)),
                "score": (np.float32, (n,)),
                "share": (np.float32, (n,)),
                "fold": (np.int8 if self.fold is not None and self.fold.dtype == np.int8 else np.int32, (n,)),
            }
        )
        if mismatch:
            return mismatch
        arrays = self.arrays()
        if "proba" not in arrays and "score" not in arrays:
            return "neither proba nor score is there"
        if not all(np.isfinite(arrays[name]).all() for name in ("proba", "score", "share") if name in arrays):
            return "scores hold NaN or infinity"
        count = self._count()
        if count is None or not np.array_equal(self.confusion, count):
            return "confusion matrices do not count the units"
        return None

    def _count(self) -> NDArray[np.int64] | None:
        n_recordings, n_classes, _ = self.confusion.shape
        for codes, stop in ((self.unit_recording, n_recordings), (self.y_true, n_classes), (self.y_pred, n_classes)):
            if codes.size and not (codes.min() >= 0 and codes.max() < stop):
                return None
        pairs = (self.unit_recording.astype(np.int64) * n_classes + self.y_true) * n_classes + self.y_pred
        return np.bincount(pairs, minlength=self.confusion.size).reshape(self.confusion.shape)


@dataclass(frozen=True)
class RegressionSide(_Fields):
    """Truth and prediction of each test recording.

    Parameters
    ----------
    recordings, persons : sequence of str, length R
    fold : ndarray of int32, shape (R,)
        Which fold's fit made the prediction.
    y_true, y_pred : ndarray of float64, shape (R,)
    """

    KIND: ClassVar[str] = "regression"

    recordings: Sequence[str]
    persons: Sequence[str]
    fold: NDArray[np.int32]
    y_true: NDArray[np.float64]
    y_pred: NDArray[np.float64]

    def problem(self) -> str | None:
        """Say which part contradicts another, or ``None``."""
        n = (len(self.recordings),)
        shapes: Shapes = {"fold": (np.int32, n), "y_true": (np.float64, n), "y_pred": (np.float64, n)}
        if mismatch := self._mismatch(shapes):
            return mismatch
        return None if np.isfinite([self.y_true, self.y_pred]).all() else "values hold NaN or infinity"


@dataclass(frozen=True)
class SurvivalSide(_Fields):
    """Risk, follow-up and event of each test recording and outcome.

    Parameters
    ----------
    recordings, persons : sequence of str, length R
    outcomes : sequence of str, length M
    fold : ndarray of int32, shape (R,)
        Which fold's fit made the prediction: risks of different fits are not comparable.
    risk : ndarray of float32, shape (R, M)
        Log relative hazard; NaN in the rows of a fold in which the outcome could not be fitted.
    time : ndarray of float32, shape (R, M)
        Years; NaN where not at risk.
    event, at_risk : ndarray of int8, shape (R, M)
    replicates : ndarray of float32, shape (M, B), optional
        The main metric in every bootstrap replicate, for paired tests over many outcomes.
    """

    KIND: ClassVar[str] = "survival"
    TEXTS: ClassVar[tuple[str, ...]] = ("recordings", "persons", "outcomes")

    recordings: Sequence[str]
    persons: Sequence[str]
    outcomes: Sequence[str]
    fold: NDArray[np.int32]
    risk: NDArray[np.float32]
    time: NDArray[np.float32]
    event: NDArray[np.int8]
    at_risk: NDArray[np.int8]
    replicates: NDArray[np.float32] | None = None

    def problem(self) -> str | None:
        """Say which part contradicts another, or ``None``."""
        both = (len(self.recordings), len(self.outcomes))
        shapes: Shapes = {
            "fold": (np.int32, both[:1]),
            "risk": (np.float32, both),
            "time": (np.float32, both),
            "event": (np.int8, both),
            "at_risk": (np.int8, both),
            "replicates": (np.float32, (both[1], 0 if self.replicates is None else self.replicates.shape[-1])),
        }
        if mismatch := self._mismatch(shapes):
            return mismatch
        told = self.at_risk.astype(bool)
        if not np.isfinite(self.time[told]).all() or (self.event.astype(bool) & ~told).any():
            return "somebody at risk has no time, or an event without being at risk"
        return None


SIDES: Mapping[str, type[ClassificationSide] | type[RegressionSide] | type[SurvivalSide]] = {
    side.KIND: side for side in (ClassificationSide, RegressionSide, SurvivalSide)
}
"""Side files by the kind of their task."""
