"""The encoder ``precomputed``: finds a recording's file, reads it by its layout, and says what it found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions
from hypnos_bench.encoders.precomputed import osf, sleepfm
from hypnos_bench.encoders.precomputed.files import ArrayFile, Folder, root_names
from hypnos_bench.encoders.precomputed.generic import read_generic
from hypnos_bench.encoders.precomputed.rows import Rows
from hypnos_bench.encoders.precomputed.statement import CARD, CARD_FILE, CHOICES, LAYOUTS, read_statement
from hypnos_bench.encoders.precomputed.times import coverage
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.spec import EPOCH_S

ID = "precomputed"
_SETTINGS = ("layout", "combination", "crop", "part")
# What of card.json can change a number, or whether there is one.
_DEFINING = (*_SETTINGS, "start_s", "step_s", "arrays", "nan_rows", "partial", "tail", "dim")


class PrecomputedEncoder:
    """Reads ``<recording id>`` with any of the known endings from a folder and those below it.

    A file ``card.json`` in the folder speaks for all files, ``<file stem>.json`` beside a file for that one, and wins.
    Rows are taken as they are: none is trimmed or moved, and what does not fit the recording is refused.
    ``--set precomputed.layout=…`` (``combination``, ``crop``, ``part``) wins over ``card.json``.

    Without a folder the recording's own file is read when it is an ``.npz`` (cohort ``array-folder``), whose
    rule is one row per 30-s epoch from the start.
    """

    title = "Precomputed embeddings"

    def __init__(self, options: EncoderOptions) -> None:
        self._per_modality = options.per_modality
        chosen = options.choose(ID, dict.fromkeys(_SETTINGS))
        self._chosen = {name: value for name, value in chosen.items() if value}
        for name, value in self._chosen.items():
            if value not in CHOICES[name]:
                raise UsageError(f"--set {ID}.{name}={value}: use one of {', '.join(CHOICES[name])}")
        self.folder = options.embeddings
        if self.folder is not None and not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder; give the folder of array files with --embeddings DIR")
        self._folder = None if self.folder is None else Folder(self.folder)
        self._read: dict[Path, str] = {}  # file to the recording that it was read for

    @cached_property
    def card(self) -> EncoderCard:
        """What is known of it: only what ``card.json`` says. Its hash covers every array file and sidecar."""
        stated = self._stated
        cohorts = stated.get("pretrained_on")
        settings = {name: stated[name] for name in _DEFINING if name in stated}
        if self._per_modality:
            settings["per_modality"] = True
        return EncoderCard(
            id=str(stated.get("id", ID)),
            title=str(stated.get("title", self.title)),
            version="1",
            step_s=None,
            window_s=None,
            causal=bool(stated.get("causal", False)),
            lag_rows=int(stated.get("lag_rows", 0)),
            channels=(),
            missing="whatever the model that made them did",
            weights=None if self._folder is None else self._folder.fingerprint(),
            weights_name=self._weights_name(),
            settings=settings,
            pretrained_on=None if cohorts is None else tuple(cohorts),
            marks=tuple(stated.get("marks", ())),
            licence=str(stated.get("licence", "")),
            note=str(stated.get("note", "")),
            dim=self._dim(),
            made_by=str(stated.get("made_by", "")),
        )

    def encode(self, recording: Recording) -> Embedding:
        """Read a recording's array, float16 or float32 as it was saved (other numbers become float32).

        Raises
        ------
        RecordingError
            When there is no file or more than one; when times are missing, uneven, or do not fit the recording's
            length; or when the array has another width than stated, or holds NaN or infinity.
        """
        file = self._file(recording)
        stated = {**self._stated, **file.stated}
        try:
            duration_s = recording.duration_s()
            rows = self._rows(file.path, stated, duration_s)
            n_rows, dim = next(iter(rows.arrays.values())).shape
            if not self._per_modality and dim != stated.get("dim", dim):
                raise ValueError(f"has {dim} columns, {CARD_FILE} says dim {stated['dim']}")
            uncovered = coverage(
                rows.start_s,
                rows.step_s,
                n_rows,
                duration_s,
                short_s=rows.short_s,
                partial=bool(stated.get("partial", False)),
            )
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise RecordingError(recording.id, f"{file.path}: {reason}") from error
        source = f"rows of {file.path.name}{f' ({uncovered})' if uncovered else ''}"
        zeros = dict.fromkeys(stated.get("zero_filled", ()), "zeros when the embeddings were made")
        return Embedding(
            rows.arrays,
            rows.start_s,
            rows.step_s,
            {**stated.get("channels", {}), **dict.fromkeys(rows.arrays, source)},
            {**zeros, **stated.get("skipped", {}), **rows.skipped},
        )

    def unmatched(self, recordings: Iterable[Recording]) -> list[str]:
        """Files of the folder, by name, that belong to none of a cohort's recordings.

        Raises
        ------
        DataError
            When a file would be read for several recordings, whose ids differ by case only.
        """
        if self._folder is None:
            return []
        ids = [recording.id for recording in recordings]
        for name, several in self._folder.shared(ids).items():
            raise DataError(f"{self._folder.root / name}: {_whose(several)}")
        return self._folder.unmatched(ids)

    def _rows(self, path: Path, stated: Mapping[str, Any], duration_s: float) -> Rows:
        layout = stated.get("layout") or self._guess(path)
        if layout == "generic":
            own = self._folder is None
            return read_generic(path, stated, {"start_s": 0.0, "step_s": EPOCH_S} if own else {})
        if layout == "osf":
            return osf.read_osf(path, stated)
        return sleepfm.read_sleepfm(path, stated, duration_s, per_modality=self._per_modality)

    def _guess(self, path: Path) -> str:
        """SleepFM's HDF5 files are known by their datasets; everything else is generic unless it is said."""
        held = set(root_names(path))
        return "sleepfm" if "X" not in held and held & set(sleepfm.MODALITIES) else LAYOUTS[0]

    @cached_property
    def _stated(self) -> dict[str, Any]:
        path = None if self.folder is None else self.folder / CARD_FILE
        stated = {} if path is None or not os.path.lexists(path) else read_statement(path, CARD)
        if stated.get("id", ID) != ID and stated["id"] in _suite_ids():
            raise DataError(
                f"{path}: field 'id' is {stated['id']!r}, which is one of the suite's own encoders; choose another"
            )
        return {**stated, **self._chosen}

    def _dim(self) -> int | None:
        stated = self._stated
        if "dim" in stated:
            return int(stated["dim"])
        layout = stated.get("layout")
        if layout == "osf":
            return osf.WIDTH * (2 if stated.get("part") == "both" else 1)
        if layout in sleepfm.STEPS_S:
            return sleepfm.WIDTH if self._per_modality else sleepfm.DIMS[stated.get("combination", "concat")]
        return None

    def _weights_name(self) -> str:
        """The one model behind all files; raises ``DataError`` when card and sidecars name several."""
        files = () if self._folder is None else self._folder.files
        named = {str(self._stated["weights"]): CARD_FILE} if "weights" in self._stated else {}
        for file in files:
            if "weights" in file.stated:
                named.setdefault(str(file.stated["weights"]), file.path.with_suffix(".json").name)
        if len(named) > 1:
            said = ", ".join(f"{name!r} ({where})" for name, where in list(named.items())[:3])
            raise DataError(f"{self.folder}: made with different weights: {said}; give each model a folder of its own")
        return next(iter(named), "")

    def _file(self, recording: Recording) -> ArrayFile:
        if self._folder is None:
            path = recording.signals.path
            if path.suffix != ".npz":
                raise RecordingError(recording.id, f"{path.name} holds no embeddings; give --embeddings DIR")
            return ArrayFile(path)
        found = self._folder.of(recording.id)
        if len(found) != 1:
            what = f"{len(found)} files, keep one" if found else "no file of this recording"
            names = ", ".join(file.path.relative_to(self._folder.root).as_posix() for file in found[:4])
            where = f"{what} ({names})" if found else f"{what} (looked for {recording.id} with a known ending)"
            raise RecordingError(recording.id, f"{self.folder}: {where}")
        if found[0].problem:
            raise RecordingError(recording.id, found[0].problem)
        before = self._read.setdefault(found[0].path, recording.id)
        if before != recording.id:
            raise RecordingError(recording.id, f"{found[0].path}: {_whose([before, recording.id])}")
        return found[0]


def _whose(several: Sequence[str]) -> str:
    return (
        f"belongs to several recordings, whose ids differ by case only ({', '.join(several[:4])}); give each a file of "
        "its own name"
    )


def _suite_ids() -> set[str]:
    """Ids that belong to encoders of the suite, under which no other embeddings may pass."""
    from hypnos_bench.encoders.demographics import CARD as DEMOGRAPHICS
    from hypnos_bench.encoders.registry import ENCODERS

    return {DEMOGRAPHICS.id, *(name for name in ENCODERS.ids() if ENCODERS.is_builtin(name))}
