"""SleepFM (2026), and the same network with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnos_bench import __version__
from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Recording
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
from hypnos_bench.encoders.channels import nothing_usable
from hypnos_bench.encoders.sleepfm import signals
from hypnos_bench.encoders.sleepfm.signals import MODALITIES, PATCH, RATE_HZ, TOKEN_S, Groups, Source
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.spec import digest
from hypnos_bench.store.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

    from hypnos_bench.encoders.sleepfm.model import SleepFM

WINDOW_TOKENS = 60
WINDOW_S = WINDOW_TOKENS * TOKEN_S
DIM = 128
"""Columns per modality."""

UNTRAINED_SEED = 0

PRETRAINED_ON = ("ssc", "bioserenity", "mesa", "mros")
"""Cohorts of the second pre-training; the Stanford nights are also known as a part of the Mignot collection."""

SETTINGS: Mapping[str, tuple[str, ...] | None] = {
    "channels": ("file", "canonical"),
    "groups": None,
    "limit": ("none", "paper"),
    "tail": ("short", "drop"),
    "output": ("5s", "5min"),
    "combine": ("concat", "mean"),
}
"""What ``--set sleepfm.NAME=VALUE`` knows, the default first; ``groups`` is a file."""

_HOW_TO_GET = "give the encoder's file, model_base/best.pt of the authors' release, as --weights sleepfm=best.pt"


class _Row(NamedTuple):
    """A channel whose patches are tokens already: (n_tokens, 128), and which tokens were not recorded."""

    tokens: Tensor
    missing: NDArray[np.bool_]
    source: str


class SleepFMEncoder:
    """Frozen SleepFM: 128 columns per modality, one row per 5 s or per 5-min window.

    Recordings are embedded one by one and channels are not padded: in the released network a modality of one channel
    takes another way than the same channel beside padding, so that embeddings would depend on what is in a batch.
    """

    id = "sleepfm"
    title = "SleepFM (2026)"
    licence = "unresolved: MIT in the authors' repository, CC BY-NC 4.0 where others redistribute code and weights"
    note = (
        "Zero-phase filter, z-score over the whole recording, and attention within 5 min: rows are not causal. Labels "
        "with a slash, which the authors' loader loses, are kept; signals are not rounded to 16 bits in between; "
        "slower channels are brought to the file's highest rate by a polyphase filter, not by a Fourier transform, "
        "which differs near half their rate only. Channels that are flat are left out, not given as zeros."
    )
    cohorts_note = " The cohorts named are those of the released weights; a file trained further has seen more."
    pretrained_on: tuple[str, ...] = PRETRAINED_ON
    marks: tuple[str, ...] = ()

    def __init__(self, options: EncoderOptions) -> None:
        self.options = options
        chosen = options.choose(self.id, SETTINGS)
        groups = chosen.pop("groups")
        self.settings = chosen
        if groups and chosen["channels"] == "canonical":
            raise UsageError(
                f"--set {self.id}.groups: goes by the file's labels, not with {self.id}.channels=canonical"
            )
        self.groups: Groups | None = signals.read_groups(Path(groups).expanduser()) if groups else None

    @cached_property
    def card(self) -> EncoderCard:
        """What it is. Reads the weights and checks them, builds no model.

        Raises
        ------
        DataError
            When the weights are missing or those of another network. There is no fallback.
        """
        from hypnos_bench.encoders.checkpoint import sha256_of

        path, _ = self._weights
        groups = {name: sorted(labels) for name, labels in (self.groups or {}).items()}
        concatenated = self.settings["combine"] == "concat" and not self.options.per_modality
        columns = {
            True: f"zeros in its columns (of {', '.join(MODALITIES)}, {DIM} each)",
            False: "it has no array" if self.options.per_modality else "it takes no part in the mean",
        }[concatenated]
        return EncoderCard(
            id=self.id,
            title=self.title,
            version="1",
            step_s=WINDOW_S if self._by_window else TOKEN_S,
            window_s=WINDOW_S,
            causal=False,
            lag_rows=0,
            channels=CANONICAL_CHANNELS,
            missing="an absent or unusable channel is left out of its modality, whose channels are pooled whatever "
            f"their number; a modality without any: {columns}. Gaps are bridged by a line; a channel that lacks more "
            f"than {signals.MAX_OWN_GAPS:.0%} of what others have is left out; rows in which no channel was recorded "
            "are NaN",
            weights=sha256_of(path),
            weights_name=path.name,
            settings={
                **self.settings,
                **({"combine": "each"} if self.options.per_modality else {}),
                **({"groups": digest(groups)} if groups else {}),
            },
            pretrained_on=self.pretrained_on,
            marks=self.marks,
            licence=self.licence,
            note=self.note + self.cohorts_note,
            dim=len(MODALITIES) * DIM if concatenated else DIM,
        )

    def encode(self, recording: Recording) -> Embedding:
        """Embed a recording: float32 rows under ``"concat"``, ``"mean"``, or under each modality's name.

        Raises
        ------
        RecordingError
            When it is too short, cannot be read, or has no usable channel.
        """
        n_tokens = self._n_tokens(recording)
        rows, skipped = self._read(recording, n_tokens)
        if not rows:
            raise nothing_usable(recording, skipped)
        arrays = {}
        for name in MODALITIES:
            channels = [row.tokens for source, row in rows.items() if source.modality == name]
            if channels:
                arrays[name] = self._embed(channels)
            else:
                skipped[f"modality {name}"] = "no usable channel"
        unrecorded = np.logical_and.reduce([row.missing for row in rows.values()])
        if self._by_window:
            unrecorded = unrecorded.reshape(-1, WINDOW_TOKENS).all(axis=1)
        for array in arrays.values():
            array[unrecorded] = np.nan
        made_from = {
            name: ", ".join(row.source for source, row in rows.items() if source.modality == name) for name in arrays
        }
        step_s = WINDOW_S if self._by_window else TOKEN_S
        return Embedding(self._combine(arrays, unrecorded), 0.0, step_s, made_from, skipped)

    @property
    def _by_window(self) -> bool:
        return self.settings["output"] == "5min"

    def _n_tokens(self, recording: Recording) -> int:
        """Whole tokens to embed. Raises ``RecordingError`` when there is none."""
        n = signals.samples_in(recording.duration_s()) // PATCH
        if self._by_window or self.settings["tail"] == "drop":
            n -= n % WINDOW_TOKENS
        if n == 0:
            least = WINDOW_S if self._by_window or self.settings["tail"] == "drop" else TOKEN_S
            raise RecordingError(recording.id, f"{recording.duration_s():g} s long, at least {least:g} s are needed")
        return n

    def _read(self, recording: Recording, n_tokens: int) -> tuple[dict[Source, _Row], dict[str, str]]:
        """Tokens of every channel that can be used, one signal in memory at a time, and why others cannot."""
        import torch

        canonical = self.settings["channels"] == "canonical"
        sources, skipped = signals.canonical_sources(), dict[str, str]()
        if not canonical:
            sources, skipped = signals.find_sources(recording, self.groups)
        common_hz = signals.common_rate_hz(recording.signals) if sources else float(RATE_HZ)
        rows: dict[Source, _Row] = {}
        for source in sources:
            signal = signals.read_source(recording, source, canonical=canonical)
            track = signal if isinstance(signal, str) else signals.prepare(signal, recording.duration_s(), common_hz)
            del signal
            if isinstance(track, str):
                skipped[source.name] = track
                continue
            patches = torch.from_numpy(track.values[: n_tokens * PATCH]).view(n_tokens, PATCH)
            rows[source] = _Row(self._model.embed_patches(patches), track.missing[:n_tokens], track.source)
        for source, reason in signals.lopsided({source: row.missing for source, row in rows.items()}).items():
            skipped[source.name] = reason
            del rows[source]
        if self.settings["limit"] == "paper":
            _limit(rows, skipped)
        _tell_bridged(rows, skipped)
        return rows, skipped

    def _embed(self, channels: Sequence[Tensor]) -> NDArray[np.float32]:
        """Rows of one modality from the tokens of its channels."""
        import torch

        model = self._model
        together = model.pool_channels(torch.stack(list(channels), dim=1))
        whole = len(together) // WINDOW_TOKENS * WINDOW_TOKENS
        parts = [together[:whole].view(-1, WINDOW_TOKENS, DIM), together[whole:].view(1, -1, DIM)]
        done = [model.contextualise(part) for part in parts if part.numel()]
        if self._by_window:
            return np.array(model.pool_windows(done[0]).cpu().numpy())
        return np.concatenate([part.flatten(0, 1).cpu().numpy() for part in done])

    def _combine(
        self, arrays: Mapping[str, NDArray[np.float32]], unrecorded: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float32]]:
        if self.options.per_modality:
            return dict(arrays)
        if self.settings["combine"] == "mean":
            return {"mean": np.mean(list(arrays.values()), axis=0, dtype=np.float32)}
        absent = np.zeros((len(unrecorded), DIM), np.float32)
        absent[unrecorded] = np.nan
        return {"concat": np.concatenate([arrays.get(name, absent) for name in MODALITIES], axis=1)}

    @cached_property
    def _weights(self) -> tuple[Path, dict[str, Tensor]]:
        from hypnos_bench.encoders.sleepfm.weights import load

        path = self._find_weights()
        return path, load(path)

    def _find_weights(self) -> Path:
        given = self.options.weights.get(self.id)
        if given is None:
            raise DataError(f"SleepFM weights are missing: {_HOW_TO_GET}")
        path = Path(given).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: no such file; {_HOW_TO_GET}")
        return path

    @cached_property
    def _model(self) -> SleepFM:
        from hypnos_bench.encoders.sleepfm.model import SleepFM
        from hypnos_bench.hypnos.device import pick_device

        return SleepFM(self._weights[1], device=pick_device(self.options.device)[0])


class SleepFMUntrained(SleepFMEncoder):
    """SleepFM in full size with seeded random weights: what architecture and preprocessing give for nothing."""

    id = "sleepfm-untrained"
    title = "SleepFM architecture, untrained"
    licence = "MIT"
    cohorts_note = ""
    pretrained_on = ()
    marks = ("untrained",)
    note = "Random weights; a control, not a model. " + SleepFMEncoder.note

    def _find_weights(self) -> Path:
        from hypnos_bench.cohorts.demo import default_cache

        # The package's version is part of the name: another version may draw other weights.
        name = f"{self.id}-{__version__}-{digest({'seed': UNTRAINED_SEED})[:8]}.safetensors"
        path = (self.options.cache or default_cache()) / "weights" / name
        if not path.exists():
            atomic_write(path, _write_untrained, instead="--cache DIR")
        return path


def _write_untrained(path: Path) -> None:
    from safetensors.numpy import save_file

    from hypnos_bench.encoders.sleepfm.weights import random_state

    save_file(random_state(UNTRAINED_SEED), path, metadata={"untrained": "true"})


def _limit(rows: dict[Source, _Row], skipped: dict[str, str]) -> None:
    """Keep the first channels of each modality, as many as the paper has room for."""
    for name, most in signals.PAPER_LIMIT.items():
        for source in [source for source in rows if source.modality == name][most:]:
            skipped[source.name] = f"beyond the first {most} of {name}"
            del rows[source]


def _tell_bridged(rows: Mapping[Source, _Row], skipped: dict[str, str]) -> None:
    """Say where a line stands for a signal although other channels were recorded."""
    if not rows:
        return
    nobody = np.logical_and.reduce([row.missing for row in rows.values()])
    for source, row in rows.items():
        bridged = int(np.count_nonzero(row.missing & ~nobody))
        if bridged:
            skipped[f"part of {source.name}"] = f"{bridged * TOKEN_S:g} s in which it was not recorded"
