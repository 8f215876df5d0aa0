"""Embeddings while the signal is being recorded: samples in, the row of the same second out.

Resampler, filters, z-score, tokenizers and temporal model all carry their state, so nothing is computed
twice, memory stays flat, and the rows are those of the offline path with ``context="continuous"``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.config import CHANNEL_ROWS, ModalitySpec, ModelMetadata
from hypnos_bench.hypnos.live_tokens import BLOCK_TOKENS, LiveChannel, TokenGroup
from hypnos_bench.hypnos.preprocess import filter_sections
from hypnos_bench.hypnos.temporal import RQTransformer
from hypnos_bench.hypnos.tokenizer import SignalTokenizer
from hypnos_bench.registry import did_you_mean
from hypnos_bench.signals.streaming import Moments, StreamingPreprocessor

MAX_AHEAD_S = 300.0
"""Seconds by which one channel may run ahead of another; its samples wait in memory."""


@dataclass(frozen=True)
class LiveRows:
    """What one push brought.

    Parameters
    ----------
    first_second : int
        Index of the first new row; of the next one to come when there is none.
    rows : mapping of str to ndarray of float32, shape (n, embed_dim)
        New rows per present modality, n >= 0 and the same for all.
    gaps : mapping of str to tuple of int
        Per channel with samples that were no finite numbers, the seconds in which they lie. They are reported by
        the push that brings them.
    """

    first_second: int
    rows: Mapping[str, NDArray[np.float32]]
    gaps: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))


class StreamingEmbedder:
    """One embedding per second and modality, while the signal comes in.

    Row t has seen the seconds before t, and comes out with the push that completes second t: the last token it
    needs looks one sample into it, and the resampler up to ``10 / rate`` seconds, where `rate` is the lower one of
    a channel's native rate and its modality's rate (0.08 s at 128 Hz, 0.3 s at 32 Hz). A channel recorded at 10 Hz
    or less makes its rows one second late or more.

    By default the rows of the first `tau_seconds` come out together once these have passed (and the resampler's
    look-ahead with them), because the offline z-score takes its start values from them. With `start_values` rows come
    from the seventh second on, the first seven together: the convolutions see the start of the signal mirrored, and
    the last of them has a kernel of seven.

    All rows together are those of `preprocess_channels`, `tokenize` with ``count="ceil"`` and `frames` with
    ``context="continuous"``. A sample that is not finite would poison the filters for good, so it is replaced by the
    last finite one of its channel (zero when there was none) and its second is reported: the rows are those
    of the signal repaired in this way. Send NaN for the seconds in which a channel fails; a channel that is not sent
    is late and holds all others back.

    Parameters
    ----------
    model, tokenizers, metadata
        From `load_model`. The tokenizers needed stay in memory.
    rates_hz : mapping of str to float
        Native rate of every canonical channel that will be sent (``{"C3": 256.0, "ECG": 512.0}``).
    notch_freq : float
        Mains frequency in Hz.
    tau_seconds : float
        Time constant of the running z-score.
    start_values : mapping of str to (float, float), optional
        Mean and variance per channel of an earlier recording of the same montage, see :meth:`start_values`.
    preprocessed : bool
        The samples are already what `preprocess_channels` gives, at the modalities' own rates; no filters, no z-score.

    Raises
    ------
    UsageError
        When a channel, rate or start value does not fit the model.
    DataError
        When the bundle asks for an impossible filter.
    """

    def __init__(
        self,
        model: RQTransformer,
        tokenizers: Mapping[str, SignalTokenizer],
        metadata: ModelMetadata,
        rates_hz: Mapping[str, float],
        *,
        notch_freq: float = 50.0,
        tau_seconds: float = 60.0,
        start_values: Mapping[str, Moments] | None = None,
        preprocessed: bool = False,
    ) -> None:
        modalities = _modalities(metadata, rates_hz)
        starts = _checked_starts(start_values, rates_hz)
        if preprocessed and starts:
            raise UsageError("start_values are for raw signals; preprocessed ones have no z-score to start")
        if not _is_real(notch_freq):
            raise UsageError(f"notch_freq must be a frequency in Hz, not {notch_freq!r}")
        if not _is_real(tau_seconds) or not 0 < tau_seconds < math.inf:
            raise UsageError(f"tau_seconds must be a positive number, not {tau_seconds!r}")
        self._channels: dict[str, LiveChannel] = {}
        for channel, modality in modalities.items():
            rate_hz, own_hz = float(rates_hz[channel]), modality.sample_rate
            chain = None
            if not preprocessed:
                sections = filter_sections(modality, notch_freq)
                chain = StreamingPreprocessor(rate_hz, own_hz, sections, tau_seconds, starts.get(channel))
            elif rate_hz != own_hz:
                raise UsageError(f"channel {channel!r}: preprocessed signals are at {own_hz} Hz, not {rate_hz:g} Hz")
            self._channels[channel] = LiveChannel(channel, modality, rate_hz, chain)
        by_stem: dict[str, list[LiveChannel]] = {}
        for one in self._channels.values():
            by_stem.setdefault(one.modality.tokenizer, []).append(one)
        self._groups = [TokenGroup(tokenizers[group[0].modality.name], group) for group in by_stem.values()]
        names = [modality.name for modality in metadata.modalities]
        present = [names.index(modality.name) for modality in modalities.values()]
        self._columns = [metadata.columns[i] for i in present]
        self._levels, self._width = metadata.columns[-1].stop, model.embed_dim
        self._stream = model.stream(present, [CHANNEL_ROWS[channel] for channel in modalities])
        self._seen = self._given = 0  # tokens that went into the temporal model, rows that came out
        self._finished = False

    @torch.inference_mode()
    def push(self, samples: Mapping[str, ArrayLike]) -> LiveRows:
        """Take the next samples and give the rows that they complete.

        Parameters
        ----------
        samples : mapping of str to array, shape (n,)
            Channel to samples in any unit, the same throughout; any number of them, not equal over channels.
            Channels without new samples may be left out.

        Raises
        ------
        UsageError
            When a channel is unknown, its samples are not one row of real numbers, or the stream is finished. The
            stream is unchanged then.
        DataError
            When a channel runs more than 300 s ahead of another (the stream is unchanged then), or the model
            gives no finite numbers.
        """
        arrays = self._checked(samples)
        gaps = {}
        for name, values in arrays.items():
            seconds = self._channels[name].push(values)
            if seconds:
                gaps[name] = seconds
        for group in self._groups:
            group.push()
        return self._rows(min(len(one.tokens) for one in self._channels.values()), gaps)

    @torch.inference_mode()
    def finish(self) -> LiveRows:
        """End the signal and give the rows that are left, up to the second in which the shortest channel ends.

        Raises
        ------
        UsageError
            When the stream is finished already.
        DataError
            When a channel was never sent, or the whole signal is too short for the tokenizers.
        """
        self._refuse_when_finished()
        for name, one in self._channels.items():
            if not one.n_samples:
                raise DataError(f"channel {name!r} was announced, but no sample of it was sent")
        self._finished = True
        for group in self._groups:
            group.finish()
        # The last token is followed by no row.
        return self._rows(min(len(one.tokens) for one in self._channels.values()) - 1, {}, end=True)

    def start_values(self) -> dict[str, Moments]:
        """Mean and variance of every filtered channel as the z-score holds them now, in the units that were sent.

        Given to a later stream of the same person and montage, they spare it the wait for its first minute.

        Raises
        ------
        UsageError
            When they are not known yet, or the signals came preprocessed.
        """
        found = {}
        for name, one in self._channels.items():
            moments = None if one.chain is None else one.chain.moments
            if moments is None:
                reason = "the signals came preprocessed" if one.chain is None else "its first minute is not over yet"
                raise UsageError(f"channel {name!r} has no start values: {reason}")
            found[name] = moments
        return found

    def _refuse_when_finished(self) -> None:
        if self._finished:
            raise UsageError("this stream is finished; make a new StreamingEmbedder for another recording")

    def _checked(self, samples: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
        self._refuse_when_finished()
        if not isinstance(samples, Mapping):
            raise UsageError(f"samples must map channels to their new samples, not be a {type(samples).__name__}")
        arrays = {}
        for name, values in samples.items():
            if name not in self._channels:
                raise UsageError(
                    f"channel {name!r} was not announced; this stream has {', '.join(self._channels)}."
                    f"{did_you_mean(name, self._channels)}"
                )
            try:
                array = np.asarray(values)
            except (TypeError, ValueError, RuntimeError) as error:  # ragged, bfloat16, on a GPU, conjugated
                reason = " ".join(str(error).split())
                raise UsageError(f"samples of channel {name!r} must be one row of real numbers ({reason})") from error
            if array.ndim != 1 or array.dtype.kind not in "fiu":
                raise UsageError(
                    f"samples of channel {name!r} must be one row of real numbers, not {array.dtype} {array.shape}"
                )
            arrays[name] = array.astype(np.float64, copy=False)
        end_s = {
            name: (one.n_samples + len(arrays.get(name, ()))) / one.rate_hz for name, one in self._channels.items()
        }
        first, last = max(end_s, key=end_s.__getitem__), min(end_s, key=end_s.__getitem__)
        if end_s[first] - end_s[last] > MAX_AHEAD_S:
            raise DataError(
                f"channel {first!r} would be {end_s[first] - end_s[last]:.0f} s ahead of {last!r}, at most "
                f"{MAX_AHEAD_S:.0f} s are kept; send channels side by side, and NaN for one that fails"
            )
        return arrays

    def _rows(self, n_tokens: int, gaps: Mapping[str, tuple[int, ...]], *, end: bool = False) -> LiveRows:
        """Move the temporal model on by `n_tokens`; the row before all tokens comes with the first of them."""
        parts = [torch.empty(len(self._channels), 0, self._width)]
        if n_tokens or (end and not self._given):
            tokens = torch.zeros(1, n_tokens, self._levels, dtype=torch.long)
            for one, columns in zip(self._channels.values(), self._columns, strict=True):
                tokens[0, :, columns] = one.take(n_tokens)
            parts += [self._stream.advance(block)[0].float().cpu() for block in _blocks(tokens)]
        frames = torch.cat(parts, 1).numpy()
        if not np.isfinite(frames).all():
            raise DataError(f"embeddings after second {self._given} are not finite numbers: the weights are damaged")
        first, self._given = self._given, self._given + frames.shape[1]
        rows = {one.modality.name: row for one, row in zip(self._channels.values(), frames, strict=True)}
        return LiveRows(first, rows, gaps)


def _blocks(tokens: Tensor) -> Iterator[Tensor]:
    """Pieces along time; one, without tokens, of none."""
    return (tokens[:, i : i + BLOCK_TOKENS] for i in range(0, max(tokens.shape[1], 1), BLOCK_TOKENS))


def _modalities(metadata: ModelMetadata, rates_hz: Mapping[str, float]) -> dict[str, ModalitySpec]:
    """Modalities of the channels announced, by channel, in the bundle's order."""
    known = {modality.channels[0]: modality for modality in metadata.modalities}
    if len(known) < len(metadata.modalities):
        raise UsageError("this bundle has two modalities of one channel, which cannot be embedded live")
    if not isinstance(rates_hz, Mapping):
        raise UsageError(f"rates_hz must map channels to rates in Hz, not be a {type(rates_hz).__name__}")
    for channel, rate_hz in rates_hz.items():
        if channel not in known:
            raise UsageError(
                f"the model knows no channel {channel!r}, only {', '.join(known)}.{did_you_mean(channel, known)}"
            )
        if not _is_real(rate_hz) or not 1 <= rate_hz < math.inf:
            raise UsageError(f"channel {channel!r}: rate must be a number, at least 1 Hz, not {rate_hz!r}")
    if not rates_hz:
        raise UsageError(f"no channel was announced; the model knows {', '.join(known)}")
    return {channel: modality for channel, modality in known.items() if channel in rates_hz}


def _checked_starts(starts: Mapping[str, Moments] | None, rates_hz: Mapping[str, float]) -> dict[str, Moments]:
    if starts is None:
        return {}
    if not isinstance(starts, Mapping):
        raise UsageError(f"start_values must map channels to (mean, variance), not be a {type(starts).__name__}")
    if set(starts) != set(rates_hz):
        raise UsageError(
            f"start_values are given for {', '.join(sorted(starts)) or 'no channel'}; needed for exactly "
            f"{', '.join(sorted(rates_hz))}"
        )
    checked = {}
    for channel, start in starts.items():
        pair = tuple(start) if isinstance(start, Iterable) else ()
        real = len(pair) == 2 and all(map(_is_real, pair))
        if not (real and math.isfinite(pair[0]) and 0 < pair[1] < math.inf):
            raise UsageError(f"start_values of {channel!r} must be a mean and a positive variance, not {start!r}")
        checked[channel] = pair[0], pair[1]
    return checked


def _is_real(value: object) -> bool:
    return isinstance(value, Real)
