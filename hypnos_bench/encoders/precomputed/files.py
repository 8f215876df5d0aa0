"""Array files by format, and the folder that holds one per recording."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hypnos_bench.encoders.precomputed.hdf5 import dataset_names, read_hdf5
from hypnos_bench.encoders.precomputed.parquet import read_parquet
from hypnos_bench.encoders.precomputed.statement import CARD_FILE, SIDECAR, read_statement
from hypnos_bench.errors import DataError
from hypnos_bench.signals.arrays import read_arrays
from hypnos_bench.spec import digest, file_sha256
from hypnos_bench.store.atomic import safe_name

HDF5 = (".h5", ".hdf5")
SUFFIXES = (".npz", ".npy", ".safetensors", *HDF5, ".parquet")


def read_file(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read the wanted arrays that a file holds; ``.npy`` and ``.parquet`` hold one, ``X``.

    Raises
    ------
    ValueError
        When the file is damaged or holds something else. One line, without the path.
    OSError
        When it cannot be opened.
    UsageError
        When the package that reads the format is not installed.
    """
    if path.suffix in HDF5:
        return read_hdf5(path, tuple(names))
    if path.suffix == ".parquet":
        return read_parquet(path)
    return read_arrays(path, names)


def root_names(path: Path) -> list[str]:
    """Names of the datasets of an HDF5 file, none for other formats. Raises as :func:`read_file`."""
    return dataset_names(path) if path.suffix in HDF5 else []


@dataclass(frozen=True)
class ArrayFile:
    """One array file, and what the ``.json`` beside it says, or why that cannot be read."""

    path: Path
    stated: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def recording(self) -> str:
        """Id of the recording it belongs to: stated, or the file's name without its ending."""
        return str(self.stated.get("recording", self.path.stem))


class Folder:
    """Array files in a folder and the folders below it.

    Raises
    ------
    DataError
        When the folder holds no array file, or a second ``card.json`` below it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> tuple[ArrayFile, ...]:
        """All array files in the order of their paths."""
        found: list[Path] = []
        for folder, below, names in os.walk(self.root):
            below[:] = sorted(name for name in below if not name.startswith("."))
            here = Path(folder)
            if CARD_FILE in names and here != self.root:
                raise DataError(
                    f"{here / CARD_FILE}: a second card below {self.root}; give the folder of one model: {here}"
                )
            found += [here / name for name in names if not name.startswith(".")]
        arrays = sorted(path for path in found if path.suffix in SUFFIXES)
        if not arrays:
            raise DataError(f"{self.root}: holds no {', '.join(SUFFIXES)} file; one per recording id is expected")
        others = set(found)
        return tuple(_with_sidecar(path, others) for path in arrays)

    def of(self, recording: str) -> list[ArrayFile]:
        """Files of a recording: by its id as it is, else whatever the case (`shared` tells when that misleads)."""
        exact = {recording, safe_name(recording)}
        found = [file for name in exact for file in self._by_id.get(name, ())]
        if found:
            return found
        folded = {name.casefold() for name in exact}
        return [file for name in folded for file in self._by_folded_id.get(name, ())]

    def fingerprint(self) -> str:
        """Hash of all array files, their sidecars and names."""
        paths = [file.path for file in self.files]
        paths += [sidecar_path(file.path) for file in self.files if file.stated or file.problem]
        # What is no file has no content, and may never end.
        hashes = {path: file_sha256(path) if path.is_file() else "" for path in paths}
        return digest({path.relative_to(self.root).as_posix(): value for path, value in hashes.items()})

    def unmatched(self, recordings: Iterable[str]) -> list[str]:
        """Names of files that belong to none of the recordings, sorted."""
        matched = {file.path for recording in recordings for file in self.of(recording)}
        return sorted(f.path.relative_to(self.root).as_posix() for f in self.files if f.path not in matched)

    def shared(self, recordings: Iterable[str]) -> dict[str, list[str]]:
        """Files that belong to several of the recordings, whose ids differ by case: name to ids, sorted."""
        claimed: dict[Path, list[str]] = {}
        for recording in sorted(set(recordings)):
            for file in self.of(recording):
                claimed.setdefault(file.path, []).append(recording)
        return {p.relative_to(self.root).as_posix(): ids for p, ids in claimed.items() if len(ids) > 1}

    @cached_property
    def _by_id(self) -> dict[str, list[ArrayFile]]:
        found: dict[str, list[ArrayFile]] = {}
        for file in self.files:
            found.setdefault(file.recording, []).append(file)
        return found

    @cached_property
    def _by_folded_id(self) -> dict[str, list[ArrayFile]]:
        found: dict[str, list[ArrayFile]] = {}
        for file in self.files:
            found.setdefault(file.recording.casefold(), []).append(file)
        return found


def sidecar_path(path: Path) -> Path:
    """Where the statement about one array file lies."""
    return path.with_suffix(".json")


def _with_sidecar(path: Path, others: set[Path]) -> ArrayFile:
    beside = sidecar_path(path)
    if not path.is_file():
        return ArrayFile(path, problem=f"{path}: not a regular file")
    if beside.name == CARD_FILE or beside not in others:
        return ArrayFile(path)
    try:
        return ArrayFile(path, read_statement(beside, SIDECAR))
    except DataError as error:  # costs this recording, not the folder
        return ArrayFile(path, problem=str(error))
    except OSError as error:
        return ArrayFile(path, problem=f"{beside}: {error.strerror or error}")
