"""Whether an encoder keeps its promises: asked of synthetic recordings, before it is let loose on real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypnos_bench.conformance.alignment import check_alignment
from hypnos_bench.conformance.card import check_card
from hypnos_bench.conformance.process import check_process
from hypnos_bench.conformance.same import check_batch, check_cut, check_determinism, check_order, check_rows
from hypnos_bench.conformance.trial import Trial
from hypnos_bench.conformance.trying import Check
from hypnos_bench.conformance.wrong import (
    check_all_nan,
    check_constant,
    check_gain,
    check_gap,
    check_lengths,
    check_missing,
    check_nothing,
    check_rates,
    check_short,
)
from hypnos_bench.encoders.base import EncoderCard, EncoderOptions
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.errors import UsageError
from hypnos_bench.signals.kinds import MODALITIES

ASKED: tuple[Callable[[Trial], Check], ...] = (
    check_rows, check_determinism, check_order, check_batch, check_cut, check_alignment, check_missing, check_nothing,
    check_gap, check_all_nan, check_constant, check_gain, check_short, check_rates, check_lengths,
)  # fmt: skip
"""What is asked of an encoder that embeds a plain recording."""


@dataclass(frozen=True)
class Report:
    """What the checks found of one encoder. Every recording was synthetic."""

    reference: str
    card: EncoderCard
    checks: tuple[Check, ...]
    synthetic: bool = True

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(check.name for check in self.checks if check.outcome == "fail")


def examine(
    reference: str,
    options: EncoderOptions,
    *,
    hours: float | None = 0.2,
    progress: Callable[[Iterator[Check], int, str], Iterator[Check]] | None = None,
) -> Report:
    """Put an encoder through all checks.

    Parameters
    ----------
    reference : str
    options : EncoderOptions
    hours : float or None
        Length of the recording whose time is taken, in a process of its own; ``None``: no such process.
    progress : callable, optional
        Wraps the iterator of checks: ``progress(iterator, total, description)``.

    Raises
    ------
    UsageError, DataError
        When there is no such encoder, its weights are missing, or it reads embeddings instead of signals.
    """
    trial = Trial(lambda: make_encoder(reference, options), options.keep or MODALITIES)
    if trial.card.id == "precomputed":
        raise UsageError("encoder precomputed reads embeddings that were made elsewhere; there is nothing to examine")
    total = 1 + len(ASKED) + (0 if hours is None else 2)
    checks = (progress or (lambda found, total, text: found))(
        _checks(trial, reference, options, hours), total, f"doctor {reference}"
    )
    return Report(reference, trial.card, tuple(checks))


def _checks(trial: Trial, reference: str, options: EncoderOptions, hours: float | None) -> Iterator[Check]:
    yield check_card(trial.card)
    if trial.plain.embedding is None:
        words = f"a plain recording of {trial.lengths_s[0]:g} s is {trial.plain.words}; nothing else can be asked"
        yield Check("rows", "fail", words)
        return
    for ask in ASKED:
        yield ask(trial)
    if hours is not None:
        yield from check_process(trial, reference, options, hours)
