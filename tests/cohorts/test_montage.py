from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.montage import LazyMontage, apply_rules
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.base import Channel, Derivation, Signal

RULES = {"C3": (Derivation("C3", "A2"), Derivation("C3-A2")), "ECG": (Derivation("ECG L", "ECG R"),)}


@dataclass
class Labelled:
    """A signal file that is nothing but labels, and counts how often they are read."""

    labels: Sequence[str]
    reads: int = 0

    @property
    def path(self) -> Path:
        return Path("x.edf")

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def channels(self) -> tuple[Channel, ...]:
        self.reads += 1
        return tuple(Channel(label, 100.0, "uV", 100) for label in self.labels)

    def duration_s(self) -> float:
        return 1.0

    def read(self, label: str) -> Signal:
        raise RecordingError("x", label)


def test_the_first_rule_that_fits_is_used() -> None:
    assert apply_rules(["C3", "A2", "C3-A2"], RULES)["C3"] == Derivation("C3", "A2")
    assert apply_rules(["C3", "C3-A2"], RULES)["C3"] == Derivation("C3-A2")
    assert apply_rules(["C3", "A1"], RULES) == {}


def test_labels_match_without_case_blanks_and_underscores_but_exactly_first() -> None:
    assert apply_rules(["ecg_l", "ECGR"], RULES)["ECG"] == Derivation("ecg_l", "ECGR")
    assert apply_rules(["ECGL", "ECG L", "ECG R"], RULES)["ECG"] == Derivation("ECG L", "ECG R")
    assert apply_rules(["ECGL", "ecg l", "ECG R"], RULES)["ECG"] == Derivation("ECGL", "ECG R")


def test_prefixes_never_match() -> None:
    rules = {"E1": (Derivation("EOG-L"),)}
    assert apply_rules(["EOG-L_Off"], rules) == {}


@given(st.permutations(["C3", "C4", "A1", "A2", "LOC", "ROC", "ECG L", "ECG R", "Abdominal", "Thoracic", "SUM"]))
def test_the_order_in_the_file_does_not_matter(labels: list[str]) -> None:
    montage = apply_rules(labels, load_layout("mros").channels)
    assert montage["C4"] == Derivation("C4", "A1")
    assert montage["E2"] == Derivation("ROC", "A1")
    assert "Chin" not in montage


def test_the_header_is_read_once_and_only_when_asked() -> None:
    signals = Labelled(["C3", "A2"])
    montage = LazyMontage(signals, RULES)
    assert signals.reads == 0
    assert montage["C3"] == Derivation("C3", "A2")
    assert list(montage) == ["C3"]
    assert montage.get("ECG") is None
    assert signals.reads == 1


def test_another_process_reads_its_own_header() -> None:
    montage = LazyMontage(Labelled(["C3", "A2"]), RULES)
    assert len(montage) == 1
    copy = pickle.loads(pickle.dumps(montage))
    copy._signals.labels = ["nothing"]
    assert len(copy) == 0


def test_aliases_only_where_the_card_says_so_and_rules_go_first() -> None:
    labels = ["C3-A2", "EEG C4-M1", "ECG", "ECG L", "ECG R"]
    assert list(LazyMontage(Labelled(labels), RULES)) == ["C3", "ECG"]
    both = LazyMontage(Labelled(labels), RULES, aliases=True)
    assert both["C4"] == Derivation("EEG C4-M1")
    assert both["ECG"] == Derivation("ECG L", "ECG R")
