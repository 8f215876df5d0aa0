"""One encode, seen from outside: an embedding, a refusal in words, or a crash; and how far two embeddings differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, Encoder, EncoderCard
from hypnos_bench.encoders.plugin import PluginError
from hypnos_bench.encoders.reference import told
from hypnos_bench.errors import DataError, RecordingError
from hypnos_bench.store.embeddings import embedding_problem

LIMITS: Mapping[str, float] = {"float16": 2e-3, "float32": 1e-4}
"""Largest relative difference between embeddings that should be equal, by their type: two roundings of float16, and
what other orders of summation do to float32."""

_SMALL = 1e-3


@dataclass(frozen=True)
class Check:
    """What one check found.

    Parameters
    ----------
    name : str
    outcome : {"pass", "fail", "note"}
        A note is nothing to pass or fail: a number to know, or a question that could not be asked.
    words : str
        One line.
    numbers : mapping of str to number, text or None
    """

    name: str
    outcome: Literal["pass", "fail", "note"]
    words: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """What came of encoding one recording: exactly one of the four is there.

    Parameters
    ----------
    embedding : Embedding or None
        One that a store takes.
    refused : str
        Reason that the encoder gave.
    crashed : str
        What it raised instead.
    unfit : str
        Why a store does not take what it gave.
    """

    embedding: Embedding | None = None
    refused: str = ""
    crashed: str = ""
    unfit: str = ""

    @property
    def bad(self) -> bool:
        """Whether it is neither an embedding nor a refusal."""
        return bool(self.crashed or self.unfit)

    @property
    def words(self) -> str:
        """How it went, in words."""
        if self.embedding is not None:
            return "embedded"
        if self.unfit:
            return f"given {self.unfit}"
        return f"crashed: {self.crashed}" if self.crashed else f"refused: {self.refused}"


def attempt(encoder: Encoder, recording: Recording) -> Tried:
    """Encode a recording; whatever an encoder may raise is part of the answer."""
    try:
        return judged(encoder.encode(recording), encoder.card)
    except PluginError as error:
        return Tried(crashed=error.reason)
    except RecordingError as error:
        return Tried(refused=error.reason)
    except DataError as error:
        return Tried(crashed=f"{told(error)} (this would end the run; raise RecordingError for one recording)")
    except MemoryError:
        raise
    except Exception as error:  # the encoder under test may raise anything
        return Tried(crashed=told(error))


def judged(embedding: Embedding, card: EncoderCard) -> Tried:
    """An embedding that a store takes, or why it does not."""
    problem = embedding_problem(embedding, card)
    return Tried(unfit=problem) if problem else Tried(embedding)


def fault(embedding: Embedding, card: EncoderCard, seconds: float) -> str | None:
    """Say what in an embedding of a recording of so many seconds is not as the card says, or ``None``."""
    widths = {array.shape[1] for array in embedding.arrays.values()}
    if len(widths) > 1:
        return f"arrays of different widths {sorted(widths)}"
    if card.dim is not None and widths != {card.dim}:
        return f"{widths.pop()} columns although its card says {card.dim}"
    end_s = embedding.start_s + rows_of(embedding) * embedding.step_s
    if embedding.start_s < 0 or end_s > seconds + embedding.step_s + 1e-6:
        return f"rows from {embedding.start_s:g} s to {end_s:g} s for a recording of {seconds:g} s"
    span_s = max(embedding.step_s, card.window_s or 0.0)
    if seconds - end_s >= span_s - 1e-6:
        return f"rows that end at {end_s:g} s of {seconds:g} s: more than a row of {span_s:g} s is not covered"
    return None


def rows_of(embedding: Embedding) -> int:
    """How many rows."""
    return len(next(iter(embedding.arrays.values())))


def width_of(embedding: Embedding) -> int:
    """How many columns."""
    return int(next(iter(embedding.arrays.values())).shape[1])


def lost_rows(embedding: Embedding) -> int:
    """Rows that are NaN as a whole in every array."""
    return int(np.logical_and.reduce([np.isnan(x).all(axis=1) for x in embedding.arrays.values()]).sum())


def limit_of(embedding: Embedding) -> float:
    """Largest relative difference that is let pass."""
    return max(LIMITS[array.dtype.name] for array in embedding.arrays.values())


def difference(one: Embedding, other: Embedding) -> float:
    """Largest relative difference of two embeddings: 0 when bit-equal, infinite when shapes, times or NaN differ."""
    by_row = differences(one, other)
    return np.inf if by_row is None else float(by_row.max(initial=0.0))


def differences(one: Embedding, other: Embedding, rows: int | None = None) -> NDArray[np.float64] | None:
    """By row, the largest difference in relation to the largest value of its column; ``None`` when not comparable.

    A column below a thousandth of the largest counts as that large: it is rounding there.

    Parameters
    ----------
    one, other : Embedding
    rows : int, optional
        Compare so many first rows only; otherwise all, and their number must agree.
    """
    if set(one.arrays) != set(other.arrays) or (one.start_s, one.step_s) != (other.start_s, other.step_s):
        return None
    found = []
    for name, a in one.arrays.items():
        a, b = (np.asarray(x[:rows], np.float64) for x in (a, other.arrays[name]))
        if a.shape != b.shape:
            return None
        size = np.max(np.abs(b), axis=0, initial=0.0, where=np.isfinite(b))
        scale = np.maximum(size, (_SMALL * float(size.max(initial=0.0))) or 1.0)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            apart = np.where(same, 0.0, np.abs(a - b) / scale)
        found.append(np.where(np.isnan(apart), np.inf, apart).max(axis=1, initial=0.0))
    return np.asarray(np.maximum.reduce(found))


def equality(name: str, found: Mapping[str, float], limit: float) -> Check:
    """A check that embeddings agree: what was compared, to the largest relative difference."""
    worst = max(found, key=lambda pair: found[pair])
    largest = found[worst]
    numbers = {"largest_relative_difference": None if np.isinf(largest) else largest, "limit": limit}
    if largest == 0.0:
        return Check(name, "pass", f"bit-equal ({', '.join(found)})", numbers)
    apart = "other rows, times or NaN" if np.isinf(largest) else f"largest relative difference {largest:.1e}"
    words = f"{apart} ({worst}; limit {limit:g})"
    return Check(name, "pass" if largest <= limit else "fail", words, numbers)
