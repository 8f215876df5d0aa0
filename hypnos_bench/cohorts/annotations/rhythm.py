"""Heart rhythm spans from the rhythm changes among a record's beat annotations.

A rhythm change carries ``(CODE`` as its text, whatever its symbol, and holds until the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.base import RhythmSpan

WfdbAnnotation = tuple[int, str, str]
"""Sample, symbol, text."""


def read_rhythm(
    annotations: Sequence[WfdbAnnotation],
    rate_hz: float,
    n_samples: int,
    *,
    before_first: str | None = None,
    tail_s: float = 0.0,
) -> tuple[RhythmSpan, ...]:
    """Rhythm spans in time order; what no span covers is unlabelled.

    Parameters
    ----------
    annotations : sequence of (sample, symbol, text)
        All annotations of the record, beats included: the last one says how far it was annotated.
    rate_hz : float
        Sampling rate of the annotations.
    n_samples : int
        Length of the record.
    before_first : str, optional
        Code of the stretch before the first rhythm change, for sets that mark episodes only.
        Without it that stretch is unlabelled.
    tail_s : float
        A record whose last annotation lies within this of its end counts as annotated to the end:
        beats stop short of the edge. Otherwise time after the last annotation is unlabelled.

    Raises
    ------
    AnnotationError
        For an annotation outside the record, or a text that opens no rhythm.
    """
    if not annotations:
        return ()
    ordered = sorted(annotations, key=lambda annotation: annotation[0])
    for sample, symbol, _ in (ordered[0], ordered[-1]):
        # One past the last sample is where some sets put the end of the last episode.
        if not 0 <= sample <= n_samples:
            raise AnnotationError(f"annotation {symbol!r} at sample {sample}: the record has {n_samples} samples")
    changes = [(sample, _code(text, sample)) for sample, _, text in ordered if _is_change(text)]
    if before_first is not None:
        changes.insert(0, (0, before_first))
    if not changes:
        return ()
    last = ordered[-1][0]
    stop = n_samples if n_samples - last <= tail_s * rate_hz else last
    edges = [sample for sample, _ in changes[1:]] + [stop]
    return tuple(
        RhythmSpan(code, start / rate_hz, end / rate_hz)
        for (start, code), end in zip(changes, edges, strict=True)
        if end > start
    )


def seconds_of(spans: Sequence[RhythmSpan], codes: Sequence[str]) -> float:
    """Seconds that spans of these codes cover."""
    return sum(span.stop_s - span.start_s for span in spans if span.code in codes)


def _clean(text: str) -> str:
    return text.rstrip("\x00").strip()


def _is_change(text: str) -> bool:
    return _clean(text).startswith("(")


def _code(text: str, sample: int) -> str:
    code = _clean(text)[1:].strip()
    if not code:
        raise AnnotationError(f"rhythm change at sample {sample} names no rhythm ({text!r})")
    return code
