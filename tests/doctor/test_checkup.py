"""One recording looked over: what header and annotation say, and every fault as a reason, never as an exception."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

import pytest

from hypnos_bench.cohorts.base import EVENT_SCOPES, STAGES, CohortOptions, Scoring, Span
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.cohorts.writers.array_folder import write_array_folder
from hypnos_bench.cohorts.writers.edf_folder import write_edf_folder
from hypnos_bench.cohorts.writers.mros import ODDITIES, write_mros_tree
from hypnos_bench.doctor import examine, examine_all
from hypnos_bench.errors import DataError
from hypnos_bench.processes import signals_held

KINDS = ("stage", "events")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("nsrr")
    return root, write_mros_tree(root, n_persons=2, hours=0.1, oddities=tuple(ODDITIES))


@pytest.fixture(scope="module")
def mros(written):
    return {r.id: r for r in COHORTS.load("mros").open(CohortOptions(root=written[0])).recordings}


def odd(mros, oddity):
    return examine(mros[f"mros-visit1-{ODDITIES[oddity]}"], KINDS)


def test_a_healthy_night_is_what_was_written(written, mros):
    night = written[1][0]
    found = examine(mros[night.id], KINDS)
    assert (found.recording, found.person, found.visit) == (night.id, night.person, "1")
    assert found.signal_file == f"{night.id}.edf"
    assert (found.annotation, found.annotation_files) == ("nsrr-xml", (f"{night.id}-nsrr.xml",))
    assert found.duration_s == night.duration_s
    assert found.montage["C3"] == "C3 - A2"
    assert (found.rates_hz["ECG"], found.units["ECG"]) == (512.0, "mV")
    assert found.unused == ("SaO2",)
    assert found.labels["stage"] == {s: night.stages.count(i) for i, s in enumerate(STAGES)} | {"unscored": 0}
    kinds = Counter(e.kind if e.kind != "unsure" else "hypopnea" for e in night.events)
    assert found.labels["events"] == kinds
    assert (found.problems, found.absent, found.unknown, found.ruled_out) == ({}, {}, {}, {})


def test_epochs_with_an_event_are_counted_by_half_a_second_of_overlap(written, mros):
    night = written[1][0]
    found = examine(mros[night.id], KINDS).epochs_with
    for scope, kinds in EVENT_SCOPES.items():
        carrying = set()
        for event in night.events:
            if event.kind in kinds or (scope == "respiratory" and event.kind == "unsure"):
                for epoch in range(len(night.stages)):
                    overlap_s = min(event.start_s + event.duration_s, epoch * 30 + 30) - max(event.start_s, epoch * 30)
                    carrying |= {epoch} if overlap_s >= 0.5 else set()
        assert found[scope] == len(carrying)


def test_what_the_card_rules_out_is_no_problem(mros):
    staging, events = odd(mros, "wrong-staging"), odd(mros, "no-event-scoring")
    assert "wrong staging" in staging.ruled_out["stage"]
    assert set(staging.labels) == {"events"}
    assert "no event scoring" in events.ruled_out["events"]
    assert set(events.labels) == {"stage"}
    assert staging.problems == events.problems == {}


def test_sleep_or_wake_only_is_the_cards_own_rule(mros):
    flagged, unflagged = odd(mros, "sleep-wake-flag"), odd(mros, "sleep-wake-unflagged")
    assert "poprstag" in flagged.ruled_out["stage"]
    assert "arousal" not in flagged.epochs_with
    assert "no N1, N3 or REM" in unflagged.ruled_out["stage"]
    assert flagged.problems == unflagged.problems == {}


def test_a_missing_annotation_is_a_problem_unless_nothing_was_wanted_of_it(mros):
    found = odd(mros, "no-xml")
    assert found.problems["annotation"].startswith("no annotation file, expected at ")
    assert (found.annotation, found.annotation_files) == ("none", ())
    unwanted = replace(mros[found.recording], unusable=dict.fromkeys(KINDS, "known to be missing"))
    assert examine(unwanted, KINDS).problems == {}


def test_a_header_that_cannot_be_read_is_a_problem_with_the_files_name(written, mros, tmp_path):
    recording = next(iter(mros.values()))
    path = tmp_path / "cut.edf"
    path.write_bytes(recording.signals.path.read_bytes()[:-1000])
    found = examine(replace(recording, signals=type(recording.signals)(path)), KINDS)
    assert set(found.problems) == {"signals"}
    assert found.problems["signals"].startswith("cut.edf: truncated: ")
    assert found.duration_s == 0


def test_an_os_error_names_the_file_and_not_its_folder(mros):
    class Broken:
        files = ()

        def read(self):
            raise OSError(5, "Input/output error", "/home/somebody/night.xml")

    found = examine(replace(next(iter(mros.values())), labels=Broken()), KINDS)
    assert found.problems["annotation"] == "night.xml: cannot be read: Input/output error"


@dataclass(frozen=True)
class Given:
    """Labels made up in the test."""

    scoring: Scoring
    files: tuple = ()
    rules: str = ""

    def read(self):
        return self.scoring


def test_a_night_without_one_scored_epoch_is_a_problem(mros):
    recording = next(iter(mros.values()))
    runs = tuple(replace(run, code=-1) for run in recording.labels.read().stages)
    found = examine(replace(recording, labels=Given(Scoring(runs))), KINDS)
    assert found.problems == {"stage": "none of 12 epochs is scored"}


def test_rhythm_and_minutes_are_counted_in_seconds_and_codes_once(mros):
    spans = (Span("N", 0, 10), Span("AFIB", 10, 25), Span("N", 25, 30))
    scoring = Scoring(rhythm=spans, minutes=(Span("A", 0, 60),), record=("A",))
    found = examine(replace(next(iter(mros.values())), labels=Given(scoring)), ("rhythm", "minutes", "record"))
    assert found.labels == {"rhythm": {"N": 15, "AFIB": 15}, "minutes": {"A": 60}, "record": {"A": 1}}


def test_kinds_that_nobody_annotated_are_absent_not_broken(tmp_path):
    write_edf_folder(tmp_path, ("csv", "embedded", "nsrr-xml"), n_epochs=12)
    found = [examine(r, KINDS) for r in COHORTS.load("edf-folder").open(CohortOptions(root=tmp_path)).recordings]
    assert [c.annotation for c in found] == ["csv-hypnogram", "edf-plus", "nsrr-xml"]
    assert [set(c.absent) for c in found] == [{"events"}, {"events"}, set()]
    assert all(c.problems == {} for c in found)


def test_ready_made_embeddings_have_stages_and_no_channels(tmp_path):
    write_array_folder(tmp_path, n_persons=1, nights=1)
    (recording,) = COHORTS.load("array-folder").open(CohortOptions(root=tmp_path)).recordings
    found = examine(recording, ("stage",))
    assert (found.annotation, found.montage, found.unused, found.problems) == ("stored", {}, (), {})
    assert sum(found.labels["stage"].values()) == 60


def test_several_workers_give_the_same_in_the_same_order(mros):
    recordings = [*mros.values()] * 4
    assert len(recordings) >= 32  # fewer are looked over here
    assert list(examine_all(recordings, KINDS, 2)) == [examine(r, KINDS) for r in recordings]


class Deadly:
    """Ends the process that unpickles it."""

    files = ()

    def __reduce__(self):
        return (os._exit, (9,))


def test_a_worker_that_dies_is_one_clear_line(mros):
    recordings = [*mros.values()] * 4
    recordings[3] = replace(recordings[3], labels=Deadly())
    with pytest.raises(DataError, match=r"one of 2 worker processes died .* rerun with --workers 1"):
        list(examine_all(recordings, KINDS, 2))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(("number", "stop"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_waits_until_processes_have_started(number, stop):
    def unwind(*_):
        raise stop

    before, reached, idle = signal.signal(number, unwind), [], threading.Event()
    other = threading.Thread(target=idle.wait)  # one that takes signals, as that of a progress bar does
    other.start()
    try:
        with pytest.raises(stop), signals_held():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            reached.append(True)
        assert reached
        assert signal.getsignal(number) is unwind
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        idle.set()
        other.join()
        signal.signal(number, before)


def test_workers_import_nothing_heavy(mros):
    recording = next(iter(mros.values()))
    code = (
        "import pickle, sys\n"
        "recording, kinds = pickle.load(sys.stdin.buffer)\n"
        "from hypnos_bench.doctor.checkup import examine\n"
        "assert not examine(recording, kinds).problems\n"
        "print(*sys.modules)"
    )
    given = pickle.dumps((recording, KINDS))
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.decode().split()}
    assert not modules & {"torch", "matplotlib", "pandas", "scipy", "click", "sklearn"}
