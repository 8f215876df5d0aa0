"""Apnea per minute: ``.apn`` files of Apnea-ECG in WFDB format, one annotation ``A`` or ``N`` per minute."""

from __future__ import annotations

from collections.abc import Mapping

from hypnos_bench.cohorts.annotations.facts import Facts
from hypnos_bench.cohorts.annotations.rhythm import annotations_of
from hypnos_bench.cohorts.annotations.runs import AnnotationError
from hypnos_bench.cohorts.annotations.words import IGNORE, UNSCORED
from hypnos_bench.cohorts.base import Scoring, Span

APNEA, NORMAL = "A", "N"
MINUTE_S = 60.0


def read_apnea_minutes(files: Mapping[str, bytes], facts: Facts, words: Mapping[str, str] | None = None) -> Scoring:
    """One span per scored minute, ``A`` or ``N``; it starts at its annotation, so minutes without one are missing.

    A last minute that the signals end within is cut short.

    Parameters
    ----------
    files : mapping of str to bytes
        ``main``: the ``.apn``.
    facts : Facts
    words : mapping of str to str, optional
        Other symbols to ``A``, ``N``, ``unscored`` or ``ignore``.

    Raises
    ------
    AnnotationError
        When the file is damaged or empty, a symbol is unknown, minutes overlap, or the scoring is longer than the
        signals by a whole minute or more.
    """
    annotations, rate_hz, n_samples = annotations_of(files, facts)
    if not annotations:
        raise AnnotationError("holds no minute at all")
    meanings = {APNEA: APNEA, NORMAL: NORMAL, **(words or {})}
    duration_s = n_samples / rate_hz
    minutes: list[Span] = []
    skipped = 0
    for sample, symbol, _ in sorted(annotations, key=lambda annotation: annotation[0]):
        where = f"annotation {symbol!r} at sample {sample}"
        code = meanings.get(symbol)
        if code in (IGNORE, UNSCORED):
            skipped += 1
            continue
        if code not in (APNEA, NORMAL):
            raise AnnotationError(f"{where}: expected 'A' (apnea) or 'N' (none); is this a file of beats?")
        start_s = sample / rate_hz
        if start_s < 0 or start_s >= duration_s:
            raise AnnotationError(
                f"{where}: the signals last {duration_s:g} s: the annotation belongs to another file, or they are cut"
            )
        if minutes and start_s < minutes[-1].start_s + MINUTE_S - 1 / rate_hz:
            raise AnnotationError(f"{where}: less than a minute after the one before")
        minutes.append(Span(code, start_s, min(start_s + MINUTE_S, duration_s)))
    return Scoring(minutes=tuple(minutes), notes=(f"{skipped} minutes are unscored",) if skipped else ())
