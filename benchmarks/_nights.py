"""Recordings for throughput: the same synthetic nights again and again, from EDF files or decoded beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from _inputs import write_synthetic_psg
from _measure import warm

from hypnos_bench.cohorts.base import Recording
from hypnos_bench.signals.base import Channel, Signal
from hypnos_bench.signals.channels import resolve_montage
from hypnos_bench.signals.edf import EdfFile


@dataclass(frozen=True)
class DecodedFile:
    """A file whose samples are in memory once a process has decoded it."""

    path: Path
    files: tuple[Path, ...] = ()

    def channels(self) -> tuple[Channel, ...]:
        return EdfFile(self.path).channels()

    def duration_s(self) -> float:
        return EdfFile(self.path).duration_s()

    def read(self, label: str) -> Signal:
        return decoded(self.path)[label]


@cache
def decoded(path: Path) -> dict[str, Signal]:
    """All channels of a file by label."""
    file = EdfFile(path)
    return {channel.label: file.read(channel.label) for channel in file.channels()}


@dataclass(frozen=True)
class NoLabels:
    """Nothing was scored."""

    files: tuple[Path, ...] = ()


def write_nights(folder: Path, seconds: int, n_files: int) -> list[Path]:
    """Different synthetic recordings of equal length, in the page cache."""
    paths = [write_synthetic_psg(folder / f"night-{i}.edf", seconds, seed=i) for i in range(n_files)]
    for path in paths:
        warm(path)
    return paths


def recordings(paths: list[Path], n: int, *, in_memory: bool) -> list[Recording]:
    """`n` recordings from the files in turn; those in memory from the first alone, which a process decodes once."""
    found = []
    for i in range(n):
        path = paths[0 if in_memory else i % len(paths)]
        montage = resolve_montage([channel.label for channel in EdfFile(path).channels()])
        file = DecodedFile(path) if in_memory else EdfFile(path)
        found.append(Recording("synthetic", f"night-{i:04}", f"p{i}", file, NoLabels(), montage))
    return found
