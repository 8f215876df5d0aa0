"""What a reader of annotations may know about the signals that its file belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

from hypnos_bench.cohorts.annotations.runs import AnnotationError


@dataclass(frozen=True)
class Facts:
    """Header of the signals, as far as annotations need it.

    Parameters
    ----------
    duration_s : float
    start : time, optional
        Time of day of the first sample.
    rate_hz : float, optional
        Samples per second in which the annotation counts.
    n_samples : int, optional
        Length in these samples.
    comments : tuple of str
        Comment lines of a WFDB header, without the ``#``.
    """

    duration_s: float
    start: time | None = None
    rate_hz: float | None = None
    n_samples: int | None = None
    comments: tuple[str, ...] = ()

    def sampling(self) -> tuple[float, int]:
        """Rate and length in samples. Raises ``AnnotationError`` when the signals do not have one rate."""
        if not self.rate_hz or self.n_samples is None:
            raise AnnotationError("its times are counted in samples, but the header gives no sampling frequency")
        return self.rate_hz, self.n_samples
