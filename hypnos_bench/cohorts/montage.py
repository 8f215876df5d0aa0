"""How canonical channels are made from one file: found in its header when first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypnos_bench.cohorts.base import CANONICAL_CHANNELS, Derivation
from hypnos_bench.signals.base import SignalFile
from hypnos_bench.signals.channels import label_key, resolve_montage

Rules = Mapping[str, Sequence[Derivation]]
"""Canonical channel to its candidates in order of preference."""


def apply_rules(labels: Sequence[str], rules: Rules) -> dict[str, Derivation]:
    """Take each channel's first candidate whose labels are all in the header.

    A label matches exactly, else without regard to case, blanks and underscores; among several of
    the same key the first in the file is taken. The derivations returned hold the file's own labels.
    """
    exact = set(labels)
    by_key: dict[str, str] = {}
    for label in labels:
        by_key.setdefault(label_key(label), label)

    def find(label: str) -> str | None:
        return label if label in exact else by_key.get(label_key(label))

    montage = {}
    for channel, candidates in rules.items():
        for candidate in candidates:
            plus = find(candidate.plus)
            minus = None if candidate.minus is None else find(candidate.minus)
            if plus is not None and (candidate.minus is None or minus is not None):
                montage[channel] = Derivation(plus, minus)
                break
    return montage


class LazyMontage(Mapping[str, Derivation]):
    """Montage of one file, resolved on first access, so that a scan of thousands of files opens none.

    Parameters
    ----------
    signals : SignalFile
    rules : mapping of str to sequence of Derivation
        Tried first.
    aliases : bool
        Whether channels that no rule makes are looked up in the general alias table.
    """

    def __init__(self, signals: SignalFile, rules: Rules, *, aliases: bool = False) -> None:
        self._signals = signals
        self._rules = rules
        self._aliases = aliases
        self._found: dict[str, Derivation] | None = None

    def _resolved(self) -> dict[str, Derivation]:
        if self._found is None:
            labels = [channel.label for channel in self._signals.channels()]
            found = apply_rules(labels, self._rules)
            if self._aliases:
                found = {**resolve_montage(labels, CANONICAL_CHANNELS), **found}
            self._found = {name: found[name] for name in CANONICAL_CHANNELS if name in found}
        return self._found

    def __getitem__(self, channel: str) -> Derivation:
        return self._resolved()[channel]

    def __iter__(self) -> Iterator[str]:
        return iter(self._resolved())

    def __len__(self) -> int:
        return len(self._resolved())

    def __getstate__(self) -> dict[str, Any]:
        # The other side reads its own header: a file that changed in between must not look unchanged.
        return {**self.__dict__, "_found": None}
