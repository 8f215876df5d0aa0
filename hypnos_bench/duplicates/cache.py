"""Fingerprints on disk by the content of the signals, so that a rerun reads no signals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.duplicates.fingerprint import Fingerprint, Kind, fingerprint
from hypnos_bench.errors import IntegrityError, RecordingError, is_transient
from hypnos_bench.store.atomic import remove, safe_name
from hypnos_bench.store.tensorfile import damaged, read_tensors, write_tensors

VERSION = "1"
"""Changes whenever the same signals would give another fingerprint."""

_DTYPES: Mapping[Kind, type[np.signedinteger[Any]]] = {"rr": np.int32, "envelope": np.int8}


class FingerprintCache:
    """Fingerprints in a folder, one verified file per content of signals; also what has no fingerprint.

    Parameters
    ----------
    folder : Path
        Made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.remade = 0
        """Damaged files that `obtain` made again."""

    def path(self, source: str) -> Path:
        """File of one source fingerprint."""
        return self._folder / f"fingerprints-{VERSION}" / f"{safe_name(source)}.safetensors"

    def __contains__(self, source: str) -> bool:
        """Whether it is stored; says nothing about its integrity."""
        return self.path(source).exists()

    def save(self, source: str, made: Fingerprint | None) -> None:
        """Store a fingerprint, or that there is none. Raises ``DataError`` when the disk refuses."""
        header = {"source": source, "version": VERSION}
        if made is None:
            write_tensors(self.path(source), {}, {**header, "kind": "none", "channel": ""})
            return
        values = made.values.astype(_DTYPES[made.kind], copy=False)
        write_tensors(self.path(source), {"values": values}, {**header, "kind": made.kind, "channel": made.channel})

    def load(self, source: str) -> Fingerprint | None:
        """Read a stored fingerprint; ``None`` where there is none to be made.

        Raises
        ------
        DataError
            When nothing is stored.
        IntegrityError
            When the file is damaged or of another recording.
        """
        path = self.path(source)
        header, arrays = read_tensors(path)
        if header.get("source") != source or header.get("version") != VERSION:
            raise damaged(path, "holds the fingerprint of other signals")
        stated, values = header.get("kind"), arrays.get("values")
        if stated == "none" and values is None:
            return None
        for kind, dtype in _DTYPES.items():
            if stated == kind and values is not None and values.ndim == 1 and values.dtype == dtype:
                return Fingerprint(kind, values, str(header.get("channel", "")))
        raise damaged(path, f"holds no fingerprint (kind {stated!r})")

    def obtain(self, recording: Recording, source: str) -> Fingerprint | None:
        """Read the fingerprint of a recording, or make and store it; a damaged file is made again and counted.

        Raises
        ------
        RecordingError
            When the recording cannot be read. That is not stored.
        """
        if source in self:
            try:
                return self.load(source)
            except IntegrityError:
                remove(self.path(source))
                self.remade += 1
        made = fingerprint(recording)
        self.save(source, made)
        return made


@dataclass
class Fingerprinted:
    """What came of fingerprinting a cohort.

    Parameters
    ----------
    found : dict of str to Fingerprint
        By recording id.
    without : list of str
        Recordings too short, or without a telling channel: copies of them are not found.
    failed : list of Exclusion
        Recordings that could not be read.
    """

    found: dict[str, Fingerprint] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    failed: list[Exclusion] = field(default_factory=list)


def fingerprint_all(
    recordings: Iterable[Recording], sources: Mapping[str, str], cache: FingerprintCache
) -> Fingerprinted:
    """Fingerprints of many recordings; one that cannot be read is listed with its reason.

    Parameters
    ----------
    recordings : iterable of Recording
    sources : mapping of str to str
        Recording id to content fingerprint, as ``Cohort.source_fingerprints``.
    cache : FingerprintCache
    """
    report = Fingerprinted()
    for recording in recordings:
        try:
            made = cache.obtain(recording, sources[recording.id])
        except RecordingError as error:
            report.failed.append(Exclusion(recording.id, error.reason, is_transient(error)))
            continue
        if made is None:
            report.without.append(recording.id)
        else:
            report.found[recording.id] = made
    return report
