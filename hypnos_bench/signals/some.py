"""A signal file of which only some modalities can be seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import time
from pathlib import Path

from hypnos_bench.errors import DataError
from hypnos_bench.signals.base import Channel, Signal, SignalFile
from hypnos_bench.signals.kinds import modality_of


class SomeChannels:
    """A `SignalFile` without the channels of other modalities.

    Parameters
    ----------
    whole : SignalFile
    modalities : collection of str
        Kept (``signals.kinds.MODALITIES``).
    also : collection of str
        Labels that can be read though they are not listed: what kept canonical channels are made from. An eye channel
        may need a mastoid as its reference; that makes the mastoid no channel of the eyes.
    """

    def __init__(self, whole: SignalFile, modalities: Collection[str], also: Collection[str] = ()) -> None:
        self._whole = whole
        self._modalities = frozenset(modalities)
        self._also = frozenset(also)

    @property
    def path(self) -> Path:
        """Main file."""
        return self._whole.path

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds samples."""
        return self._whole.files

    @property
    def whole(self) -> SignalFile:
        """The file with all its channels; see `whole_file`."""
        return self._whole

    def channels(self) -> tuple[Channel, ...]:
        """Header entries of the modalities kept, in file order."""
        return tuple(channel for channel in self._whole.channels() if modality_of(channel.label) in self._modalities)

    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self._whole.duration_s()

    def start_clock(self) -> time | None:
        """Time of day of the first sample."""
        return self._whole.start_clock()

    def repairs(self) -> tuple[str, ...]:
        """As the whole file's."""
        return self._whole.repairs()

    def unreadable(self) -> Mapping[str, str]:
        """Channels that may be read, but whose values cannot be given."""
        return {label: reason for label, reason in self._whole.unreadable().items() if self._may_read(label)}

    def read(self, label: str) -> Signal:
        """Read a channel that is kept, or that a kept one is made from.

        Raises as the file, and ``DataError`` for a hidden one.
        """
        if not self._may_read(label):
            raise DataError(f"{self.path}: channel {label!r} is masked")
        return self._whole.read(label)

    def _may_read(self, label: str) -> bool:
        return label in self._also or modality_of(label) in self._modalities


def whole_file(signals: SignalFile) -> SignalFile:
    """The file with all its channels: for what does not depend on which of them are kept."""
    return signals.whole if isinstance(signals, SomeChannels) else signals
