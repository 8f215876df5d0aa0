"""Hypnos, and the same network with random weights: the honest lower bound of its architecture."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hypnos_bench import __version__
from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import PRECISIONS, Embedding, EncoderCard, EncoderOptions, Prepared
from hypnos_bench.encoders.channels import nothing_usable, read_usable
from hypnos_bench.encoders.gaps import MAX_OWN_GAPS, Pieces, cut, has_gaps, join, lopsided
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.spec import digest, file_sha256
from hypnos_bench.store.atomic import atomic_write

if TYPE_CHECKING:
    from hypnos_bench.hypnos.config import ModelMetadata
    from hypnos_bench.hypnos.temporal import RQTransformer
    from hypnos_bench.hypnos.tokenizer import SignalTokenizer

TAU_S = 60.0
"""Time constant of the running z-score, as in training."""

UNTRAINED_SEED = 0

UNBOUNDED_CHUNK_TOKENS = 2048
"""Where the context of a bundle without windows is cut: the published package's default on a CPU."""

_HOW_TO_GET = "hf download joncarter/hypnos hypnos.safetensors --local-dir DIR, then --weights DIR/hypnos.safetensors"


class HypnosEncoder:
    """Frozen Hypnos: one row per second of signal, by modality or averaged over the modalities present.

    By default the context runs through the whole recording (``context`` "continuous"): chunks, as the published
    package cuts them, disturb the minutes after each cut. ``--chunk-tokens`` brings them back. A bundle with a layer
    that sees the whole past is always cut, at the package's 2048 tokens, since its memory would grow with the night.
    """

    id = "hypnos"
    title = "Hypnos"
    licence = "MIT"
    note = (
        "The list of recordings seen in pre-training is not published. Rows are causal but for the first minute, whose "
        "signal sets the start values of the running z-score, and one sample of look-ahead."
    )

    def __init__(self, options: EncoderOptions) -> None:
        if options.precision not in PRECISIONS:
            raise UsageError(f"precision {options.precision!r} is unknown; use {' or '.join(PRECISIONS)}")
        self.options = options

    @cached_property
    def card(self) -> EncoderCard:
        """What it is. Reads the weights file once for its hash, builds no model.

        Raises
        ------
        DataError
            When the weights are missing or no Hypnos bundle. There is no fallback.
        """
        metadata = self._metadata
        return EncoderCard(
            id=self.id,
            title=self.title,
            version="2",  # 2: rows near gaps
            step_s=metadata.modalities[0].token_duration_sec,
            window_s=None,
            causal=not self.options.zero_phase,
            lag_rows=1,
            channels=tuple(modality_channels(metadata)),
            missing="an absent or unusable channel is left out: it takes no part in attention or in the mean. So is "
            "one in the seconds of which more than a tenth was not recorded; smaller gaps are bridged by a line. "
            "Context starts anew where channels come or go; rows without any, and stretches below 6 s, are NaN. "
            f"A channel that lacks more than {MAX_OWN_GAPS:.0%} of what others have is left out altogether",
            weights=weights_sha256(self._bundle),
            settings={
                "context": "continuous" if self._chunk_tokens is None else "chunked",
                "chunk_tokens": self._chunk_tokens,
                "precision": self.options.precision,
                "modalities": "each" if self.options.per_modality else "mean",
                "filters": "zero-phase" if self.options.zero_phase else "causal",
                "tau_s": TAU_S,
                "tokens": "ceil up to 1800 s, floor beyond",
            },
            marks=(
                *(("untrained",) if metadata.untrained else ()),
                *(("bf16",) if self.options.precision == "bf16" else ()),
            ),
            licence=self.licence,
            note=self.note,
            pretrained_on=() if metadata.untrained else None,
            dim=metadata.config.embed_dim,
            weights_name=self._bundle.name,
        )

    @property
    def _chunk_tokens(self) -> int | None:
        """Tokens per chunk, or ``None`` for one continuous context."""
        config = self._metadata.config
        unbounded = any(config.window(layer) is None for layer in range(config.temporal_depth))
        return self.options.chunk_tokens or (UNBOUNDED_CHUNK_TOKENS if unbounded else None)

    def encode(self, recording: Recording) -> Embedding:
        """Embed a recording: float16 rows under ``"mean"``, or under each modality's name.

        Raises
        ------
        RecordingError
            When no channel is usable, or one cannot be read, filtered or tokenised.
        DataError
            When the accelerator runs out of memory, or the weights are damaged.
        """
        outcome = self.encode_prepared([self.prepare(recording)])[0]
        if isinstance(outcome, RecordingError):
            raise outcome
        return outcome

    def prepare(self, recording: Recording) -> Prepared:
        """Read and preprocess the channels that can be used; no model is built.

        Raises
        ------
        RecordingError
            When no channel is usable, or one cannot be read or filtered.
        """
        from hypnos_bench.hypnos.preprocess import min_rate_hz, preprocess_channels

        metadata = self._metadata
        signals, skipped = read_usable(recording, modality_channels(metadata), gaps=True, min_rate_hz=min_rate_hz)
        if not signals:
            raise nothing_usable(recording, skipped)
        made_from = {m.name: signals[m.channels[0]].source for m in metadata.modalities if m.channels[0] in signals}
        try:
            ready = preprocess_channels(
                signals,
                metadata,
                notch_freq=recording.mains_hz,
                causal=not self.options.zero_phase,
                tau_seconds=TAU_S,
            )
        except DataError as error:
            raise RecordingError(recording.id, str(error)) from error
        if has_gaps(ready):
            channel = {m.name: m.channels[0] for m in metadata.modalities}
            for name, rows in lopsided(ready, _hops(metadata)).items():
                skipped[channel[name]] = f"{made_from.pop(name)}: {rows} s are missing in it"
                del ready[name]
            if not ready:
                raise nothing_usable(recording, skipped)
        return Prepared(recording.id, ready, made_from, skipped)

    def encode_prepared(self, several: Sequence[Prepared]) -> list[Embedding | RecordingError]:
        """Embed recordings together; each gets its embedding, or the reason why it has none.

        A batch that does not fit the accelerator's memory is halved until it does.

        Raises
        ------
        DataError
            When a single recording does not fit either, or the weights are damaged.
        """
        import torch

        try:
            return self._encode(several)
        except torch.OutOfMemoryError as error:
            if len(several) == 1:
                raise DataError(
                    f"{several[0].recording}: device {self.options.device} ran out of memory; free it of other "
                    "programs, or use --device cpu"
                ) from error
        half = len(several) // 2
        return self.encode_prepared(several[:half]) + self.encode_prepared(several[half:])

    def batch_size(self) -> int:
        """How many recordings to embed together: 1, or on CUDA what half of the free memory holds."""
        from hypnos_bench.hypnos.budget import recordings_at_once

        model, _, metadata = self._loaded
        return recordings_at_once(model, metadata, self._chunk_tokens)

    def _encode(self, several: Sequence[Prepared]) -> list[Embedding | RecordingError]:
        from hypnos_bench.hypnos.batch import embed_many, tokenize_many

        model, tokenizers, metadata = self._loaded
        chunk = self._chunk_tokens
        whole = [cut_pieces(prepared, metadata) for prepared in several]
        tokens = tokenize_many(tokenizers, metadata, [signals for pieces in whole for signals in pieces.signals])
        embedded = iter(
            embed_many(
                model,
                [found for found in tokens if not isinstance(found, DataError)],
                metadata,
                context="continuous" if chunk is None else "chunked",
                chunk_tokens=chunk,
                average=not self.options.per_modality,
            )
        )
        rows = iter([found if isinstance(found, DataError) else next(embedded) for found in tokens])
        step_s = metadata.modalities[0].token_duration_sec
        return [
            self._outcome(prepared, pieces, [next(rows) for _ in pieces.signals], step_s)
            for prepared, pieces in zip(several, whole, strict=True)
        ]

    def _outcome(
        self,
        prepared: Prepared,
        pieces: Pieces,
        embedded: Sequence[Mapping[str, NDArray[np.float16]] | DataError],
        step_s: float,
    ) -> Embedding | RecordingError:
        """What one recording gets, from what each of its pieces got."""
        good = [found for found in embedded if not isinstance(found, DataError)]
        bad = [str(found) for found in embedded if isinstance(found, DataError)]
        if bad or not good:
            reason = bad[0] if bad else "its gaps leave no stretch that is long enough to be embedded"
            return RecordingError(prepared.recording, reason)
        names = list(prepared.arrays) if self.options.per_modality else ["mean"]
        return Embedding(join(pieces, good, names), 0.0, step_s, prepared.channels, prepared.skipped)

    @cached_property
    def _bundle(self) -> Path:
        return self._find_bundle().resolve()

    def _find_bundle(self) -> Path:
        return given_bundle(self.options, self.id)

    @cached_property
    def _metadata(self) -> ModelMetadata:
        from hypnos_bench.hypnos.bundle import Bundle

        with Bundle(self._bundle) as bundle:
            return bundle.metadata

    @cached_property
    def _loaded(self) -> tuple[RQTransformer, Mapping[str, SignalTokenizer], ModelMetadata]:
        import torch

        from hypnos_bench.hypnos.infer import load_model

        dtype = torch.bfloat16 if self.options.precision == "bf16" else torch.float32
        model, tokenizers, metadata = load_model(self._bundle, device=self.options.device, dtype=dtype)
        if model.device.type == "cuda":
            return model, all_at_once(tokenizers, metadata), metadata
        return model, tokenizers, metadata


class HypnosUntrained(HypnosEncoder):
    """A small Hypnos with seeded random weights: what the architecture and the preprocessing give for nothing.

    The weights are written once into the cache. Their recipe gives the same bytes everywhere, so that the hash of
    the file, which enters every key, says what was used and is the same on all machines.
    """

    id = "hypnos-untrained"
    title = "Hypnos architecture, small, untrained"
    note = "Random weights of a small configuration; a control, not a model."

    def _find_bundle(self) -> Path:
        return untrained_bundle(self.options.cache)


def given_bundle(options: EncoderOptions, *encoders: str) -> Path:
    """The bundle given for the first of some encoder ids that one is given for, or the released one.

    Raises
    ------
    DataError
        When it is not there, saying how to get it. There is no fallback.
    """
    from hypnos_bench.hypnos.bundle import DEFAULT_REPO, resolve_bundle

    given = (options.weights[encoder] for encoder in encoders if encoder in options.weights)
    try:
        return resolve_bundle(next(given, DEFAULT_REPO))
    except DataError as error:
        raise DataError(f"Hypnos weights are missing: {error} ({_HOW_TO_GET})") from error


def untrained_bundle(cache: Path | None) -> Path:
    """The small bundle with random weights, written into the cache (the platform's if ``None``) when not there."""
    from hypnos_bench.cohorts.demo import default_cache
    from hypnos_bench.hypnos.random_bundle import SMALL_CONFIG, write_random_bundle

    recipe = digest({"config": SMALL_CONFIG, "seed": UNTRAINED_SEED, "drawn": "float64"})[:8]
    # The package's version is part of the name: another version may draw other weights.
    folder = cache or default_cache()
    path = folder / "weights" / f"hypnos-untrained-{__version__}-{recipe}.safetensors"
    if not path.exists():

        def write(temporary: Path) -> None:
            write_random_bundle(temporary, seed=UNTRAINED_SEED)

        atomic_write(path, write, instead="--cache DIR")
    return path


def all_at_once(tokenizers: Mapping[str, SignalTokenizer], metadata: ModelMetadata) -> dict[str, SignalTokenizer]:
    """Every tokenizer read and kept: a GPU has room for all of them, and no time to read them for every batch."""
    first = {m.tokenizer: m.name for m in reversed(metadata.modalities)}
    by_stem = {stem: tokenizers[name] for stem, name in first.items()}
    return {m.name: by_stem[m.tokenizer] for m in metadata.modalities}


def modality_channels(metadata: ModelMetadata) -> list[str]:
    """Canonical channels that the modalities of a bundle ask for."""
    return list(dict.fromkeys(modality.channels[0] for modality in metadata.modalities))


def _hops(metadata: ModelMetadata) -> dict[str, int]:
    """Samples per row of each modality."""
    return {m.name: int(m.sample_rate * m.token_duration_sec) for m in metadata.modalities}


def cut_pieces(prepared: Prepared, metadata: ModelMetadata) -> Pieces:
    """Cut a prepared recording into stretches that can be tokenised, at least as long as the convolutions need."""
    from hypnos_bench.hypnos.preprocess import MIN_SECONDS
    from hypnos_bench.hypnos.tokenizer import token_count

    hops = _hops(metadata)
    n_rows = min(token_count(len(array), hops[name]) for name, array in prepared.arrays.items())
    return cut(prepared.arrays, hops, n_rows, math.ceil(MIN_SECONDS / metadata.modalities[0].token_duration_sec))


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def weights_sha256(path: Path) -> str:
    """Hash of the weights; nearly two gigabytes are read once per process as long as the file does not change."""
    return _sha256(path, *_state(path))


@functools.cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the key only
    return file_sha256(path)
