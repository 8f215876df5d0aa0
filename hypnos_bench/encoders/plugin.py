"""An encoder that is not one of the suite's own: checked when it is made, and when it gives something back.

Whatever goes wrong in it for one recording costs that recording only, with its reason.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions, Prepared, is_staged
from hypnos_bench.encoders.reference import Guarded, Target, has_encode, told
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.spec import digest, file_sha256

T = TypeVar("T")

_NEEDED = "an attribute card (an EncoderCard) and a method encode(recording)"


class PluginError(RecordingError):
    """A plug-in failed on a recording, or gave something that is no embedding: a fault of its code."""


class PluginEncoder:
    """Wraps a plug-in; offers its two stages where it has them.

    Parameters
    ----------
    inner : object
        What the reference led to.
    reference : str
        As the user wrote it, for messages.
    target : Target
        Says which code it is made of; that becomes part of the card's settings, so that embeddings made by an
        earlier state of that code are never taken for those of the present one. Modules which that code imports
        are not looked at.
    taken : sequence of str
        Ids that its card may not have, in any case: those of the suite's own encoders.
    options : EncoderOptions, optional
        What the user gives. Its own settings and weights are among them; they become part of the card's settings too,
        so that a plug-in cannot forget them there.

    Raises
    ------
    UsageError
        When it is no encoder.
    """

    def __init__(
        self,
        inner: Any,
        reference: str,
        target: Target,
        taken: Sequence[str] = (),
        options: EncoderOptions | None = None,
    ) -> None:
        self.inner = inner
        self.reference = reference
        self._target = target
        self._options = options or EncoderOptions()
        self._check(taken)
        if is_staged(inner):  # offered only where the plug-in does
            self.prepare = self._prepare
            self.encode_prepared = self._encode_prepared
            self.batch_size = self._batch_size

    @cached_property
    def card(self) -> EncoderCard:
        """The plug-in's, with the hash of its code, its name there, and what the user gave it in the settings."""
        with Guarded(f"encoder {self.reference}: its card cannot be read"):
            card = self.inner.card
        if not isinstance(card, EncoderCard):
            raise UsageError(f"encoder {self.reference}: its card is of type {type(card).__name__}, not EncoderCard")
        added: dict[str, Any] = self._given(card.id)
        if self._target.source is not None:
            added |= {"source": self._target.source, "object": self._target.name}
        try:
            return replace(card, settings={**card.settings, **added})
        except TypeError as error:
            raise UsageError(f"encoder {self.reference}: its card's settings are no mapping") from error

    def _given(self, card_id: Any) -> dict[str, Any]:
        """Own settings and weights of the plug-in, given under its card's id or the id it is registered by."""
        names = [name for name in dict.fromkeys((card_id, self.reference)) if isinstance(name, str)]
        settings = {name: dict(values) for name in names if (values := self._options.settings.get(name))}
        weights = {name: _fingerprint(given) for name in names if (given := self._options.weights.get(name))}
        return {what: told_of for what, told_of in (("given", settings), ("given_weights", weights)) if told_of}

    def encode(self, recording: Recording) -> Embedding:
        """Embed a recording.

        An array of shape (rows, dim) becomes an embedding with the card's step, from the start of the recording.

        Raises
        ------
        RecordingError
            When the plug-in says so, fails with any other exception than ``DataError``, or gives something else.
        """
        return self._guarded(recording.id, lambda: self._embedding(self.inner.encode(recording), recording.id))

    def _prepare(self, recording: Recording) -> Prepared:
        def prepare() -> Prepared:
            found = self.inner.prepare(recording)
            if not isinstance(found, Prepared):
                raise self._error(recording.id, f"prepare gave a {type(found).__name__}, not Prepared")
            return found

        return self._guarded(recording.id, prepare)

    def _encode_prepared(self, several: Sequence[Prepared]) -> list[Embedding | RecordingError]:
        """Embed together, or one by one when they fail together: one bad recording costs itself only."""
        try:
            return self._guarded(several[0].recording, lambda: self._together(several))
        except RecordingError as error:
            if len(several) == 1:
                return [error]
        return [outcome for one in several for outcome in self._encode_prepared([one])]

    def _together(self, several: Sequence[Prepared]) -> list[Embedding | RecordingError]:
        found = self.inner.encode_prepared(several)
        if not isinstance(found, (list, tuple)) or len(found) != len(several):
            gave = f"{len(found)} outcomes" if isinstance(found, (list, tuple)) else f"a {type(found).__name__}"
            raise self._error(several[0].recording, f"encode_prepared gave {gave} for {len(several)} recordings")
        pairs = zip(found, several, strict=True)
        return [one if isinstance(one, RecordingError) else self._embedding(one, p.recording) for one, p in pairs]

    def _batch_size(self) -> int:
        with Guarded(f"encoder {self.reference}: batch_size failed"):
            size = int(self.inner.batch_size())
        if size < 1:
            raise UsageError(f"encoder {self.reference}: batch_size gave {size}; at least 1 is needed")
        return size

    def _guarded(self, recording: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except DataError:
            raise
        except (Exception, SystemExit) as error:
            raise self._error(recording, f"{told(error)}{_where(error)}") from error

    def _error(self, recording: str, reason: str) -> PluginError:
        return PluginError(recording, f"encoder {self.reference} failed: {reason}")

    def _embedding(self, found: Any, recording: str) -> Embedding:
        if isinstance(found, np.ndarray) and self.card.step_s is not None:
            rows = found.astype(np.float32) if found.dtype == np.float64 else found
            found = Embedding({"rows": rows}, 0.0, self.card.step_s, {})
        if not isinstance(found, Embedding):
            need = "an Embedding" if self.card.step_s is None else "an Embedding or an array of shape (rows, dim)"
            raise self._error(recording, f"encode gave a {type(found).__name__}, not {need}")
        wrong = _wrong_part(found)
        if wrong:
            raise self._error(recording, f"its Embedding has {wrong}")
        return found

    def _check(self, taken: Sequence[str]) -> None:
        with Guarded(f"encoder {self.reference}: its card cannot be read"):
            has_card = hasattr(self.inner, "card")
        missing = [name for name, there in (("card", has_card), ("encode", has_encode(self.inner))) if not there]
        if missing:
            raise UsageError(
                f"encoder {self.reference} (a {type(self.inner).__name__}) has no {' and no '.join(missing)}; "
                f"an encoder has {_NEEDED}"
            )
        card = self.card
        if not isinstance(card.id, str) or not card.id.strip():
            raise UsageError(f"encoder {self.reference}: its card has the id {card.id!r}; give it a name")
        if card.id.strip().casefold() in {name.casefold() for name in taken}:
            raise UsageError(
                f"encoder {self.reference}: its card has the id {card.id!r} of one of the suite's own; rename it"
            )
        try:
            digest(card.definition())
        except (TypeError, ValueError) as error:
            raise UsageError(f"encoder {self.reference}: its card cannot be hashed: {error}") from error


def _fingerprint(weights: str) -> str:
    """SHA-256 of a weights file's content; of the text itself where it names something else, such as a repository."""
    path = Path(weights)
    try:
        return file_sha256(path) if path.is_file() else digest(weights)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); give a readable weights file") from error


def _where(error: BaseException) -> str:
    """The line that the error came through last in the file that was called from here: the plug-in's own."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    frame = next((f for f in reversed(frames) if f.filename == frames[0].filename), None)
    return "" if frame is None else f" ({Path(frame.filename).name}, line {frame.lineno})"


def _wrong_part(embedding: Embedding) -> str | None:
    """What of an embedding is of the wrong type, or ``None``; shapes and values are judged where it is stored."""
    if not isinstance(embedding.arrays, Mapping):
        return f"arrays of type {type(embedding.arrays).__name__}, not a mapping of name to array"
    for name, array in embedding.arrays.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            return f"a {type(array).__name__} under {name!r}, not a NumPy array under a name"
    for field in ("start_s", "step_s"):
        value = getattr(embedding, field)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            return f"{field} {value!r}, not a number"
    for field in ("channels", "skipped"):
        told_of = getattr(embedding, field)
        texts = isinstance(told_of, Mapping) and all(isinstance(x, str) for pair in told_of.items() for x in pair)
        if not texts:
            return f"{field} that map not text to text"
    return None
