"""Which of a file's channels is which: match rules, alias table, mastoid references, bipolar differences.

The rules are those of the published Hypnos package, so that a recording gives it the signals it was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.registry import did_you_mean
from hypnos_bench.signals.base import UNCALIBRATED, Derivation, Signal
from hypnos_bench.signals.resample import polyphase

ALIASES: Mapping[str, tuple[str, ...]] = {
    "C3": ("C3-M2", "C3-A2", "C3_M2", "C3_A2", "EEG C3-M2", "EEG C3-A2", "EEG(sec) C3", "EEG(sec)"),
    "C4": ("C4-M1", "C4-A1", "C4_M1", "C4_A1", "EEG C4-M1", "EEG C4-A1", "EEG(sec) C4", "EEG", "EEG3"),
    "E1": ("E1-M2", "E1-A2", "EOG E1-M2", "EOG(L)", "LOC", "EOG-L", "EOGl", "EOG LOC-M2", "LOC-M2"),
    "E2": (
        *("E2-M1", "E2-M2", "E2-A1", "EOG E2-M1", "EOG(R)", "ROC", "EOG-R", "EOGr"),
        *("EOG ROC-M1", "ROC-M1", "EEG ROC-M1"),
    ),
    "Chin": (
        *("Chin1-Chin2", "ChinA", "Cchin", "Chin EMG", "EMG", "EMG Chin"),
        *("EMG Chin1-Chin2", "EMG Chin2-Chin1", "Chin2-Chin1", "EEG Chin1-Chin2"),
    ),
    "ECG": ("EKG", "ECG1", "ECG L", "ECGL", "ECG L-ECG R", "ECG EKG2-EKG", "EKG2-EKG", "ECG LA-RA", "LA-RA"),
    "ABD": ("Abdo", "ABDO RES", "ABDO EFFORT", "Abdominal", "Abdomen", "Resp Abdominal", "Resp Abdomen"),
    "THX": (
        *("Thor", "THOR RES", "THOR EFFORT", "Thoracic", "Thorax", "Chest"),
        *("Resp Thoracic", "Resp Chest"),
    ),
}
"""Labels under which recorders store each canonical channel, in order of preference."""

_REFERENCE = {"C3": "M2", "C4": "M1", "E1": "M2", "E2": "M1"}  # contralateral mastoid
_MASTOIDS = {"M1": ("M1", "A1", "TP9"), "M2": ("M2", "A2", "TP10")}
_MASTOID_NAMES = tuple(name for names in _MASTOIDS.values() for name in names)
_CHIN_READY = ("Chin1-Chin2", "CHIN1-CHIN2")
_CHIN_PAIRS = (
    ("ChinR", "ChinL"),
    ("Chin1", "Chin2"),
    ("cchin_r", "cchin_l"),
    ("R Chin", "L Chin"),
    ("Rchin", "Lchin"),
    ("EMG3", "EMG2"),
    ("EMG2", "EMG1"),
)
_MICROVOLTS = {"nv": 1e-3, "uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6}


def label_key(label: str) -> str:
    """Key of a label for a cohort's own rules: case-folded, no blanks or underscores, ``-`` for ``/`` and ``:``."""
    return re.sub(r"[\s_]+", "", label).casefold().replace("/", "-").replace(":", "-")


def resolve_montage(
    labels: Sequence[str],
    channels: Sequence[str] = ("C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX"),
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Derivation]:
    """Find canonical channels among a file's labels.

    A channel is looked for under its own name, then under the caller's `aliases`, then in `ALIASES`; case, outer
    blanks, ``:`` or ``/`` for ``-`` and the suffixes ``_PDS`` and ``_EG`` do not matter, but an exact canonical name
    wins. Bare C3, C4, E1 and E2 are referenced to the contralateral mastoid. When the file holds no mastoid at all
    they count as referenced by the recorder; when it holds only the other one they are left out. Chin prefers a
    ready-made bipolar channel, then the difference of a known pair of electrodes, then a single channel.

    Parameters
    ----------
    labels : sequence of str
        The file's labels, in file order.
    channels : sequence of str
        Canonical channels wanted.
    aliases : mapping of str to sequence of str, optional
        More labels per canonical channel, preferred to the built-in ones.

    Returns
    -------
    dict of str to Derivation
        In the order of `channels`, with the file's own labels; channels that are absent have no entry.

    Raises
    ------
    UsageError
        When `aliases` names a channel that is not in `channels`, or gives a string for a list of labels.
    """
    for channel, names in (aliases or {}).items():
        if isinstance(names, str):
            raise UsageError(f"aliases of {channel!r} must be a list of labels, not the string {names!r}")
        if channel not in channels and channel not in ALIASES:
            raise UsageError(f"aliases given for unknown channel {channel!r}.{did_you_mean(channel, channels)}")
    mastoids = {name for name in _MASTOIDS if _mastoid(labels, name) is not None}
    montage = {}
    for channel in channels:
        derivation = _chin(labels, aliases) if channel == "Chin" else _referenced(labels, channel, mastoids, aliases)
        if derivation is not None:
            montage[channel] = derivation
    return montage


def difference(plus: Signal, minus: Signal) -> Signal:
    """Take `plus` minus `minus` at the rate of `plus`, cut to the shorter.

    As in the published Hypnos package, `minus` is resampled by polyphase filtering when the rates differ. Unlike it,
    rates need not be whole hertz, and a `minus` in another unit of voltage is converted first.

    Raises
    ------
    DataError
        When either is sampled below 1 Hz, or holds stored integers without calibration.
    """
    source = f"{plus.source} - {minus.source}"
    if UNCALIBRATED in (plus.unit, minus.unit):
        raise DataError(f"{source}: no difference can be taken of channels without calibration")
    if plus.rate_hz < 1 or minus.rate_hz < 1:
        raise DataError(f"{source}: sampled at {plus.rate_hz:g} and {minus.rate_hz:g} Hz; both must be at least 1 Hz")
    other = polyphase(minus.values, minus.rate_hz, plus.rate_hz)
    unit, other_unit = (_MICROVOLTS.get(signal.unit.casefold()) for signal in (plus, minus))
    if unit is not None and other_unit is not None and unit != other_unit:
        other = other * (other_unit / unit)
    n = min(len(plus.values), len(other))
    return Signal(plus.values[:n] - other[:n], plus.rate_hz, plus.unit, source)


def _match_key(label: str) -> str:
    key = label.strip().upper()
    for suffix in ("_PDS", "_EG"):
        key = key.removesuffix(suffix)
    return key.replace(":", "-").replace("/", "-").strip()


def _find(labels: Sequence[str], names: Sequence[str]) -> str | None:
    """First name that a label matches; the first label in the file when several do."""
    by_key: dict[str, str] = {}
    for label in labels:
        by_key.setdefault(_match_key(label), label)
    return next((by_key[key] for name in names if (key := _match_key(name)) in by_key), None)


def _mastoid(labels: Sequence[str], name: str) -> str | None:
    return name if name in labels else _find(labels, _MASTOIDS[name])


def _electrode(labels: Sequence[str], channel: str, aliases: Mapping[str, Sequence[str]] | None) -> str | None:
    if channel in labels:
        return channel
    return _find(labels, (channel, *(aliases or {}).get(channel, ()), *ALIASES.get(channel, ())))


def _referenced(
    labels: Sequence[str], channel: str, mastoids: set[str], aliases: Mapping[str, Sequence[str]] | None
) -> Derivation | None:
    label = _electrode(labels, channel, aliases)
    if label is None:
        return None
    reference = _REFERENCE.get(channel)
    upper = label.upper()
    names_reference = any(name in upper and name != upper for name in _MASTOID_NAMES)
    if reference is None or names_reference or not mastoids:
        return Derivation(label)
    return Derivation(label, _mastoid(labels, reference)) if reference in mastoids else None


def _chin(labels: Sequence[str], aliases: Mapping[str, Sequence[str]] | None) -> Derivation | None:
    """Exact spellings first, as the published package has them; differently spelt pairs only when nothing else fits."""
    ready = next((label for label in _CHIN_READY if label in labels), None)
    if ready is not None:
        return Derivation(ready)
    for plus, minus in _CHIN_PAIRS:
        if plus in labels and minus in labels:
            return Derivation(plus, minus)
    single = _electrode(labels, "Chin", aliases)
    if single is not None:
        return Derivation(single)
    for pair in _CHIN_PAIRS:
        found = [_find(labels, (name,)) for name in pair]
        if found[0] is not None and found[1] is not None:
            return Derivation(found[0], found[1])
    return None
