"""OSF over whole recordings, with a user's weights or with random ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Recording, n_epochs
from hypnos_bench.encoders.base import PRECISIONS, Embedding, EncoderCard, EncoderOptions, Prepared
from hypnos_bench.encoders.channels import nothing_usable, read_usable
from hypnos_bench.encoders.osf import batch
from hypnos_bench.encoders.osf.layout import Geometry
from hypnos_bench.encoders.osf.signal import CLIP, RESAMPLERS, condition
from hypnos_bench.encoders.osf.slots import MIN_RATES_HZ, SLOTS, copy_sides, place
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.spec import EPOCH_S, file_sha256

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hypnos_bench.encoders.osf.model import ViT

PRETRAINED_ON = ("shhs", "nchsdb", "wsc", "ccshs", "cfs")

BATCH = {"cpu": 16, "mps": 32, "cuda": 128}
"""Epochs computed together. On a CPU 8 to 16 cost least; the others are guesses, since no such device could be had."""

RECORDINGS_AT_ONCE = 4
"""On CUDA, so that the last batch of a recording is seldom a small one."""

_SETTINGS = {
    "feature": ("cls", "mean-patch", "both"),
    "resampler": RESAMPLERS,
    "substitute": ("none", "contralateral"),
}
_NO_WEIGHTS = (
    "OSF has no weights here and none are downloaded: hf download yang-ai-lab/OSF-Base osf_backbone.pth "
    "--local-dir DIR, then --weights osf=DIR/osf_backbone.pth"
)


class OSFEncoder:
    """Frozen OSF (Open Sleep FM): one row per epoch of 30 s, which sees that epoch alone.

    Settings: ``feature`` (``cls``; ``mean-patch``; ``both``, the class token first), ``resampler`` (`signal`),
    ``substitute`` (``contralateral``: an EEG, EOG or leg channel that is missing is a copy of the other side's) and
    ``branch`` (``teacher``: the moving average out of a checkpoint of pre-training).
    """

    id = "osf"
    title = "OSF (Open Sleep FM)"
    note = (
        "Assumed: the z-score over the recording before the clip at +-6, since upstream's preprocessing is not "
        "published. Legs, nasal pressure and snore are found by the labels of the file; one channel for both legs "
        "counts as the left."
    )

    def __init__(self, options: EncoderOptions) -> None:
        if options.precision not in PRECISIONS:
            raise UsageError(f"precision {options.precision!r} is unknown; use {' or '.join(PRECISIONS)}")
        self.options = options
        self._settings = options.choose(self.id, _SETTINGS | self._own_settings())

    @cached_property
    def card(self) -> EncoderCard:
        """What it is. Reads the weights file for its hash and its shapes.

        Raises
        ------
        DataError
            When the weights are missing or not OSF's. There is no fallback.
        """
        return EncoderCard(
            id=self.id,
            title=self.title,
            version="1",
            step_s=EPOCH_S,
            window_s=EPOCH_S,
            causal=False,
            lag_rows=0,
            channels=tuple(name for name in CANONICAL_CHANNELS if any(slot.canonical == name for slot in SLOTS)),
            missing="a channel that is absent or unusable is zero after scaling, as in pre-training (with "
            "substitute=contralateral: a copy of the other side's). It is zero in an epoch of which it lacks more than "
            "a tenth; smaller gaps are bridged by a line. Rows of epochs without any channel are NaN; the seconds "
            "after the last whole epoch are left out",
            weights=self._weights_hash,
            weights_name=self._weights_name,
            dim=self._dim(self._geometry),
            settings={
                **self._settings,
                "normalisation": "recording z-score (assumed)",
                "clip": CLIP,
                "precision": self.options.precision,
            },
            pretrained_on=self._cohorts_seen,
            marks=(*self._marks, *(("bf16",) if self.options.precision == "bf16" else ())),
            licence="MIT",
            note=self._note,
        )

    def encode(self, recording: Recording) -> Embedding:
        """Embed a recording: float32 rows under ``"osf"``.

        Raises
        ------
        RecordingError
            When no channel is usable, or one cannot be read.
        DataError
            When the accelerator runs out of memory, or the weights are damaged.
        """
        outcome = self.encode_prepared([self.prepare(recording)])[0]
        if isinstance(outcome, RecordingError):
            raise outcome
        return outcome

    def prepare(self, recording: Recording) -> Prepared:
        """Read and scale the channels that can be used, one at a time; no model is built.

        Raises
        ------
        RecordingError
            When no channel is usable, one cannot be read, or there is no whole epoch.
        """
        n_rows = n_epochs(recording.duration_s())
        if n_rows == 0:
            raise RecordingError(
                recording.id, f"{recording.duration_s():g} s long, one epoch of {EPOCH_S:g} s is needed"
            )
        placed = place(recording)
        arrays: dict[str, NDArray[np.float32]] = {}
        made_from: dict[str, str] = {}
        skipped: dict[str, str] = {}
        for slot in SLOTS:
            signals, lacking = read_usable(placed, [slot.name], gaps=True, min_rate_hz=MIN_RATES_HZ.__getitem__)
            if slot.name not in signals:
                skipped[slot.wanted] = lacking[slot.name]
                continue
            ready = condition(signals[slot.name], n_rows, slot.storage_hz, self._settings["resampler"])
            if isinstance(ready, str):
                skipped[slot.wanted] = ready
                continue
            arrays[slot.name], made_from[slot.name] = ready, signals[slot.name].source
        if not arrays:
            raise nothing_usable(recording, skipped)
        if self._settings["substitute"] == "contralateral":
            copy_sides(arrays, made_from)
        return Prepared(recording.id, arrays, made_from, skipped)

    def encode_prepared(self, several: Sequence[Prepared]) -> list[Embedding | RecordingError]:
        """Embed recordings together. A batch that does not fit the accelerator's memory is halved until it does.

        Raises
        ------
        DataError
            When a single epoch does not fit either, or the weights are damaged.
        """
        import torch

        model, device = self._loaded
        dim = self._dim(model.geometry)
        there = [batch.recorded(prepared) for prepared in several]
        found = [np.full((len(rows), dim), np.nan, np.float32) for rows in there]
        todo = [(i, int(row)) for i, rows in enumerate(there) for row in np.flatnonzero(rows)]
        size, done = self._batch or BATCH[device.type], 0
        while done < len(todo):
            places = todo[done : done + size]
            try:
                rows = self._rows(model, torch.from_numpy(batch.epochs(several, places)).to(device))
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise DataError(
                        f"{several[0].recording}: device {self.options.device} ran out of memory; free it of other "
                        "programs, or use --device cpu"
                    ) from error
                self._batch = size = size // 2
                continue
            for (i, row), values in zip(places, rows, strict=True):
                found[i][row] = values
            done += len(places)
        return [
            Embedding({"osf": rows}, 0.0, EPOCH_S, prepared.channels, prepared.skipped)
            for rows, prepared in zip(found, several, strict=True)
        ]

    def batch_size(self) -> int:
        """How many recordings to embed together: 1, or a few on CUDA."""
        return RECORDINGS_AT_ONCE if self._loaded[1].type == "cuda" else 1

    _batch: int | None = None  # epochs, once some did not fit

    def _dim(self, geometry: Geometry) -> int:
        return geometry.width * (2 if self._settings["feature"] == "both" else 1)

    def _rows(self, model: ViT, epochs: Tensor) -> NDArray[np.float32]:
        import torch

        feature = self._settings["feature"]
        with torch.inference_mode():
            cls, patches = model(epochs, patches=feature != "cls")
            if patches is None:
                return np.asarray(cls.cpu().numpy())
            mean = patches.mean(dim=1)
            chosen = mean if feature == "mean-patch" else torch.cat([cls, mean], dim=1)
            return np.asarray(chosen.cpu().numpy())

    @cached_property
    def _loaded(self) -> tuple[ViT, torch.device]:
        import torch

        from hypnos_bench.encoders.osf.model import ViT
        from hypnos_bench.hypnos.device import pick_device
        from hypnos_bench.hypnos.linear import settle
        from hypnos_bench.hypnos.memory import give_back_memory

        device, _ = pick_device(self.options.device)
        dtype = torch.bfloat16 if self.options.precision == "bf16" else torch.float32
        state, geometry = self._state()
        model = settle(ViT(state, geometry), device, dtype).eval()
        del state
        give_back_memory()
        return model, device

    # What a user's file says, and what the control below has instead of one.

    _marks: tuple[str, ...] = ()

    @property
    def _cohorts_seen(self) -> tuple[str, ...] | None:
        """Those of the published weights; a fine-tuned file has seen others, and does not say which."""
        return None if self._file_facts[1] else PRETRAINED_ON

    def _own_settings(self) -> dict[str, tuple[str, ...]]:
        from hypnos_bench.encoders.osf.weights import BRANCHES

        return {"branch": BRANCHES}

    def _state(self) -> tuple[dict[str, Tensor], Geometry]:
        from hypnos_bench.encoders.osf.weights import load

        found = load(self._path, self._settings["branch"])
        return found.state, found.geometry

    @cached_property
    def _file_facts(self) -> tuple[Geometry, bool]:
        """Size of the network in the file, and whether it was fine-tuned; its tensors are not kept."""
        from hypnos_bench.encoders.osf.weights import load

        found = load(self._path, self._settings["branch"])
        return found.geometry, found.fine_tuned

    @property
    def _geometry(self) -> Geometry:
        return self._file_facts[0]

    @property
    def _path(self) -> Path:
        given = self.options.weights.get(self.id)
        if given is None:
            raise DataError(_NO_WEIGHTS)
        return Path(given)

    @cached_property
    def _weights_hash(self) -> str:
        try:
            return file_sha256(self._path)
        except OSError as error:
            raise DataError(f"{self._path}: {error.strerror or error}. {_NO_WEIGHTS}") from error

    @property
    def _weights_name(self) -> str:
        return self._path.name

    @property
    def _note(self) -> str:
        from hypnos_bench.encoders.osf.weights import RELEASED_SHA256

        if self._weights_hash == RELEASED_SHA256:
            return self.note
        told = f"{self.note} The file is not the one whose hash third parties pass on as the released one's"
        if self._file_facts[1]:
            return f"{told}; it holds a fine-tuned network, and which cohorts that has seen is not known."
        return f"{told}; the cohorts named are those of the released weights; a file trained further has seen more."
