"""Encoder protocol and card: ``encode(recording)`` gives embeddings; the card says what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.errors import RecordingError, UsageError
from hypnos_bench.registry import did_you_mean

PRECISIONS = ("float32", "bf16")
"""Types in which a neural encoder may compute what tolerates it: another type is another encoder."""


@dataclass(frozen=True)
class EncoderCard:
    """What a reader must know about an encoder, and everything about it that can change a number.

    Parameters
    ----------
    id, title : str
    version : str
        Changes whenever the same input would give other numbers.
    step_s : float or None
        Seconds between rows; ``None`` when each recording states its own.
    window_s : float or None
        Seconds of signal behind one row; ``None`` for an unbounded past.
    causal : bool
        Whether a row sees no later signal.
    lag_rows : int
        Rows by which an embedding trails its signal: row t has seen seconds before t only -> 1.
    channels : tuple of str
        Canonical channels it can use; what happens to a missing one is said in `missing`.
    weights : str or None
        SHA-256 of the weights, ``None`` when there are none.
    weights_name : str
        What the weights are called: a file's name, or a repository and file. Not part of the definition.
    dim : int or None
        Columns of an embedding row when every recording gives the same number; ``None`` when it is not known before.
    settings : mapping
        Every option that can change a number.
    pretrained_on : tuple of str or None
        Cohort ids seen in pre-training, empty when nothing was learned from recordings; ``None`` when it is not known.
    marks : tuple of str
        Words every table must carry: ``untrained``, ``bf16``.
    made_by : str
        Of embeddings that were exported: id of the encoder that made them, whose lists of seen recordings hold for
        them too. Not part of the definition.
    """

    id: str
    title: str
    version: str
    step_s: float | None
    window_s: float | None
    causal: bool
    lag_rows: int
    channels: tuple[str, ...]
    missing: str
    weights: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    pretrained_on: tuple[str, ...] | None = None
    marks: tuple[str, ...] = ()
    licence: str = ""
    note: str = ""
    dim: int | None = None
    weights_name: str = ""
    made_by: str = ""

    def definition(self) -> dict[str, Any]:
        """The part that enters keys and hashes."""
        return {
            "id": self.id,
            "version": self.version,
            "weights": self.weights,
            "settings": dict(self.settings),
            "lag_rows": self.lag_rows,
        }

    @property
    def alignment(self) -> str:
        """How its rows lie on the label grid, in words for a report."""
        step = "rows as the file times them" if self.step_s is None else f"one row per {self.step_s:g} s"
        if self.causal:
            seen = "causal"
        elif self.window_s is not None and self.window_s == self.step_s:
            seen = "a row sees its own stretch (and what normalisation takes from the whole recording)"
        else:
            seen = "a row sees signal after it too"
        lag = f", row t stands for what was seen before it: {self.lag_rows} row late" if self.lag_rows else ""
        return f"{step}, {seen}{lag}"


@dataclass(frozen=True)
class Embedding:
    """Embeddings of one recording.

    Parameters
    ----------
    arrays : mapping of str to ndarray, each of shape (n_rows, dim)
        One per modality, or one under ``"mean"`` when modalities were averaged, float16 or float32.
        All share row times and width, since tasks average over them. A row is NaN as a whole where the encoder had
        no signal to make it from.
    start_s, step_s : float
        Row t stands for the stretch [start_s + t*step_s, start_s + (t+1)*step_s).
    channels : mapping of str to str
        Modality to the channel it was made from, in the file's own labels.
    skipped : mapping of str to str
        Canonical channel to the reason why it was not used (absent, constant, ...).
    """

    arrays: Mapping[str, NDArray[np.floating[Any]]]
    start_s: float
    step_s: float
    channels: Mapping[str, str]
    skipped: Mapping[str, str] = field(default_factory=dict)


def mean_over_modalities(arrays: Mapping[str, NDArray[np.floating[Any]]]) -> NDArray[np.float32]:
    """Average the arrays of all modalities in float32, shape (n_rows, dim).

    A modality whose row is NaN, because it was not recorded there, takes no part in that row; NaN where none does.

    Raises
    ------
    UsageError
        When they differ in shape.
    """
    several = list(arrays.values())
    if len({a.shape for a in several}) != 1:
        raise UsageError(f"modalities of different shapes cannot be averaged: {sorted({a.shape for a in several})}")
    total = np.zeros(several[0].shape, np.float32)
    count = np.zeros((len(total), 1), np.float32)
    for array in several:
        there = ~np.isnan(array).any(axis=1, keepdims=True)
        total += array if there.all() else np.where(there, array, array.dtype.type(0))
        count += there
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a row that nothing was recorded for
        total /= count
    return total


@dataclass(frozen=True)
class EncoderOptions:
    """What the command line, a config file or the environment can say about encoders.

    One command may ask several encoders, so each ignores what is not for it.
    """

    weights: Mapping[str, str] = field(default_factory=dict)  # encoder id: file, folder or Hub repo
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # encoder id: its own settings (--set)
    embeddings: Path | None = None  # precomputed: folder of arrays
    device: str = "auto"
    per_modality: bool = False  # store one array per modality instead of their mean
    keep: tuple[str, ...] | None = None  # modalities that encoders may see (``signals.kinds``); None: all
    precision: str = "float32"  # hypnos: one of PRECISIONS
    chunk_tokens: int | None = None  # hypnos
    zero_phase: bool = False  # hypnos
    cache: Path | None = None  # where small untrained weights are kept

    def choose(self, encoder: str, known: Mapping[str, Sequence[str] | None]) -> dict[str, str]:
        """Own settings of an encoder, checked, with the first of the known values where nothing is said.

        Parameters
        ----------
        encoder : str
            Id under which the user gives them.
        known : mapping of str to sequence of str or None
            Setting to its possible values, the default first; ``None`` where any text goes (default: empty).

        Raises
        ------
        UsageError
            For a setting or value that the encoder does not know.
        """
        given = self.settings.get(encoder, {})
        for name, value in given.items():
            if name not in known:
                hint = did_you_mean(name, known)
                raise UsageError(f"--set {encoder}.{name}: no such setting.{hint} Known: {', '.join(known) or 'none'}")
            values = known[name]
            if values is not None and value not in values:
                raise UsageError(f"--set {encoder}.{name}={value}: use one of {', '.join(values)}")
        return {name: given.get(name, values[0] if values else "") for name, values in known.items()}


class Encoder(Protocol):
    """Anything with a card and ``encode`` is an encoder. Registered classes are called with ``EncoderOptions``."""

    @property
    def card(self) -> EncoderCard:
        """The card. Needs the weights' hash, so it may read the weights file, but builds no model."""
        ...

    def encode(self, recording: Recording) -> Embedding:
        """Embed one recording. Raises ``RecordingError`` when that recording cannot be embedded."""
        ...


@dataclass(frozen=True)
class Prepared:
    """What an encoder made of a recording without its model: all it needs to embed it.

    Parameters
    ----------
    recording : str
        Recording id.
    arrays : mapping of str to ndarray of float32, each of shape (n_samples,)
        Signals as the model wants them.
    channels, skipped : mapping of str to str
        As in :class:`Embedding`.
    """

    recording: str
    arrays: Mapping[str, NDArray[np.float32]]
    channels: Mapping[str, str]
    skipped: Mapping[str, str]


class StagedEncoder(Encoder, Protocol):
    """An encoder whose work has two stages: signals, for many processes, and a model, for one process and its GPU.

    Optional, and used on an accelerator. Elsewhere, and for any other encoder, each worker process calls ``encode``
    with a model of its own (``--workers 1`` where a GPU has no room for several).
    """

    def prepare(self, recording: Recording) -> Prepared:
        """Read and preprocess. Needs no model and no device. Raises ``RecordingError``."""
        ...

    def encode_prepared(self, several: Sequence[Prepared]) -> list[Embedding | RecordingError]:
        """Embed recordings together; each gets its embedding, or the reason why it has none."""
        ...

    def batch_size(self) -> int:
        """How many recordings to embed together. Builds the model, since the memory that is left decides."""
        ...


def is_staged(encoder: Encoder) -> TypeGuard[StagedEncoder]:
    """Whether an encoder offers its two stages separately."""
    return all(hasattr(encoder, name) for name in ("prepare", "encode_prepared", "batch_size"))
