"""Fake trees of the open sleep cohorts: file names, labels, rates and scorings as each of them has it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from hypnos_bench.cohorts.annotations.text import in_time_order
from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.writers import open_montages as montages
from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.dreem import write_dreem_h5, write_dreem_scorer
from hypnos_bench.cohorts.writers.edf_plus import edf_plus_rows, write_edf_plus
from hypnos_bench.cohorts.writers.open_montages import Montage, nights, write_montage
from hypnos_bench.cohorts.writers.remlogic import write_remlogic
from hypnos_bench.cohorts.writers.sleep_edf import write_sleep_edf_tree
from hypnos_bench.cohorts.writers.stage_list import write_stage_list
from hypnos_bench.cohorts.writers.synthetic import Kind, Written, random_events
from hypnos_bench.cohorts.writers.text import clock_text, write_lines
from hypnos_bench.cohorts.writers.ucddb import write_ucddb
from hypnos_bench.spec import EPOCH_S

__all__ = (
    "write_cap_tree",
    "write_dod_h_tree",
    "write_dod_o_tree",
    "write_hmc_tree",
    "write_isruc_tree",
    "write_mass_tree",
    "write_sleep_edf_tree",
    "write_ucddb_tree",
)

ISRUC_EXTRA_EPOCHS = 30
"""Labels in a list of ISRUC beyond the end of its signals."""

MASS_PAGE_OFF_S = 2 / 256
"""What a page of MASS is short of its 20 or 30 s: two samples."""

CAP_GROUPS = ("n", "nfle", "rbd", "plm", "ins", "narco", "sdb", "brux")
UCDDB_NUMBERS = (2, 3, *range(5, 16), *range(17, 29))
UCDDB_EVENTS = ("obstructive-apnea", "central-apnea", "mixed-apnea", "hypopnea")
_ISRUC_ODD: Mapping[int, Montage] = {8: montages.ISRUC_8, 40: montages.ISRUC_40}
_MASS_RK = (2, 4, 5)


def write_dod_o_tree(root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0) -> tuple[Written, ...]:
    """DOD-O: ``dodo/<uuid>.h5``, macOS's leftovers of the archive, and the five scorers' lists.

    The first epoch is unscored. Samples are in microvolts in every other file and in volts in the rest, as stated.
    """
    return _write_dod(root, "dodo", montages.DOD_O, n_persons, n_epochs, seed)


def write_dod_h_tree(root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0) -> tuple[Written, ...]:
    """DOD-H: as DOD-O in ``dodh``, without C4_M1."""
    return _write_dod(root, "dodh", montages.DOD_H, n_persons, n_epochs, seed)


def _write_dod(
    root: Path, folder: str, channels: Mapping[str, Kind], n_persons: int, n_epochs: int, seed: int
) -> tuple[Written, ...]:
    rng = np.random.default_rng(seed)
    coming, written = nights(n_epochs, rng), []
    for i in range(n_persons):
        name = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{folder} {i}"))
        stages = (-1, *next(coming)[1:])
        path = root / folder / f"{name}.h5"
        write_dreem_h5(path, stages, channels=channels, unit="V" if i % 2 else "uV", seed=seed + i)
        fork = root / "__MACOSX" / folder / f"._{name}.h5"
        fork.parent.mkdir(parents=True, exist_ok=True)
        fork.write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
        for scorer in range(1, 6):
            seen = [2 if code == 1 and scorer > 3 else code for code in stages]
            write_dreem_scorer(root / f"scorers/{folder}/scorer_{scorer}/{name}.json", seen)
        written.append(Written(name, name, None, n_epochs * EPOCH_S, stages))
    return tuple(written)


def write_isruc_tree(
    root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0, *, odd: bool = False
) -> tuple[Written, ...]:
    """ISRUC: persons in each of three subgroups, two nights each in the second, two experts' lists per night.

    Labels against A1 and A2 take turns with those against M1 and M2. Lists run on for `ISRUC_EXTRA_EPOCHS`. The
    second expert calls N2 what the first, whose stages are returned, calls N1.

    Parameters
    ----------
    root : Path
    n_persons : int
        Of each subgroup.
    n_epochs, seed : int
    odd : bool
        Whether persons 8 (without F3 and F4) and 40 (bare electrodes) of subgroup 1 are added.
    """
    rng = np.random.default_rng(seed)
    coming, written = nights(n_epochs, rng), []
    for group in (1, 2, 3):
        ordinary = {n: montages.ISRUC_M if n % 2 else montages.ISRUC_A for n in range(1, n_persons + 1)}
        for n, montage in {**ordinary, **(_ISRUC_ODD if odd and group == 1 else {})}.items():
            for night in ("1", "2") if group == 2 else ("",):
                stem = night or str(n)
                folder = root / f"Subgroup_{group}" / str(n) / night
                stages = next(coming)
                duration_s = write_montage(folder / f"{stem}.rec", montage, stages, rng, extra_s=12.0)
                second = [2 if code == 1 else code for code in stages]
                for expert, seen in ((1, stages), (2, second)):
                    write_stage_list(folder / f"{stem}_{expert}.txt", seen, "isruc", extra=ISRUC_EXTRA_EPOCHS)
                written.append(Written(f"S{group}-{n}-{stem}", f"S{group}-{n}", night or None, duration_s, stages))
    return tuple(written)


def write_hmc_tree(root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0) -> tuple[Written, ...]:
    """HMC: ``recordings``, with a scoring of 30-s pages from 15 s on, as EDF+ and as CSV."""
    rng = np.random.default_rng(seed)
    coming, first_s, written = nights(n_epochs, rng), 15.0, []
    for i in range(n_persons):
        name, stages = f"SN{i + 1:03d}", next(coming)
        path = root / "recordings" / f"{name}.edf"
        duration_s = write_montage(path, montages.HMC, stages, rng, first_s=first_s, extra_s=9.0)
        rows = edf_plus_rows(stages, run_length=False, first_s=first_s)
        rows.insert(0, (3.0, 0.0, "Lights off@@EEG F4-A1"))
        write_edf_plus(path.with_name(f"{name}_sleepscoring.edf"), rows)
        lines = ["Date, Time, Recording onset, Duration, Annotation, Linked channel"]
        for start_s, length_s, text in rows:
            word, _, channel = text.partition("@@")
            lines.append(f"2001-01-01, {clock_text('22:00:00', start_s)}, {start_s:g}, {length_s:g}, {word}, {channel}")
        write_lines(path.with_name(f"{name}_sleepscoring.txt"), lines)
        written.append(Written(name, name, None, duration_s, stages))
    return tuple(written)


def write_cap_tree(root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0) -> tuple[Written, ...]:
    """CAP: ``n1.edf`` with ``n1.txt``, persons in turn of each group, with labels and rates that differ.

    Every other export lacks ``Position`` and has full stops in its times. Recordings begin before midnight and their
    first page 27 s after them; stage 4 is written, and phases of the cyclic alternating pattern are events.
    """
    rng = np.random.default_rng(seed)
    start, first_s = datetime(2009, 1, 1, 23, 58, 13), 27.0
    coming, written = nights(n_epochs, rng), []
    for i in range(n_persons):
        name = f"{CAP_GROUPS[i % len(CAP_GROUPS)]}{i // len(CAP_GROUPS) + 1}"
        stages = next(coming)
        asleep = [epoch for epoch, code in enumerate(stages) if code in (1, 2, 3)][::2]
        events = [
            Event(f"cap-a{1 + k % 3}", first_s + epoch * EPOCH_S + float(rng.integers(0, 20)), 4.0 + k % 5)
            for k, epoch in enumerate(asleep)
        ]
        montage = montages.CAP[i % len(montages.CAP)]
        path = root / f"{name}.edf"
        duration_s = write_montage(path, montage, stages, rng, first_s=first_s, extra_s=2.0, start=start)
        plain = i % 2 == 0
        write_remlogic(
            path.with_suffix(".txt"),
            stages,
            events,
            start.time(),
            first_s=first_s,
            position=plain,
            separator=":" if plain else ".",
            rk=True,
        )
        written.append(Written(name, name, None, duration_s, stages, in_time_order(events)))
    return tuple(written)


def write_mass_tree(root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0) -> tuple[Written, ...]:
    """MASS: persons in each of SS1 to SS5; pages of 30 s in SS1 and SS3, of 20 s in the others, a little short.

    The first page is at 1.5 s. Annotations are named with a blank and with an underscore in turn.

    Parameters
    ----------
    root : Path
    n_persons : int
        Of each subset.
    n_epochs : int
        Epochs of 30 s; SS2, SS4 and SS5 have pages of 20 s for as long.
    seed : int
    """
    rng = np.random.default_rng(seed)
    coming, first_s, written = nights(n_epochs, rng), 1.5, []
    for subset, montage in montages.MASS.items():
        rk = subset in _MASS_RK
        for i in range(n_persons):
            name, stages = f"01-{subset:02d}-{i + 1:04d}", next(coming)
            path = root / f"SS{subset:02d}" / f"{name} PSG.edf"
            duration_s = write_montage(path, montage, stages, rng, first_s=first_s, extra_s=2.5)
            page_s = (20.0 if rk else EPOCH_S) - MASS_PAGE_OFF_S
            # A page has the stage at its middle.
            middles_s = np.arange(int(n_epochs * EPOCH_S // page_s)) * page_s + page_s / 2
            pages = tuple(stages[min(int(at_s // EPOCH_S), n_epochs - 1)] for at_s in middles_s)
            rows = edf_plus_rows(pages, rk=True, run_length=False, page_s=page_s, first_s=first_s)
            if not rk:  # no stage 4 in AASM
                rows = [(start_s, length_s, text.replace("stage 4", "stage 3")) for start_s, length_s, text in rows]
            ending = "Base" if rk else "Annotations"
            write_edf_plus(path.with_name(f"{name}{'_' if i % 2 else ' '}{ending}.edf"), rows)
            written.append(Written(name, name, None, duration_s, pages))
    return tuple(written)


def write_ucddb_tree(root: Path, n_persons: int = 2, n_epochs: int = 14, seed: int = 0) -> tuple[Written, ...]:
    """UCDDB: ``ucddb002.rec`` with stages, events and the Holter's ECG; a table as the workbook's CSV twin.

    Recordings begin before midnight, the Holter at a placeholder time. Tables of events also hold periodic
    breathing and a possible event, which are none.
    """
    rng = np.random.default_rng(seed)
    start = datetime(1985, 1, 1, 23, 57, 9)
    coming, written, table = nights(n_epochs, rng), [], []
    for i, number in enumerate(UCDDB_NUMBERS[:n_persons]):
        name, stages = f"ucddb{number:03d}", next(coming)
        path = root / f"{name}.rec"
        duration_s = write_montage(path, montages.UCDDB, stages, rng, extra_s=11.0, start=start)
        write_montage(root / f"{name}_lifecard.edf", montages.UCDDB_LIFECARD, stages, rng, start=datetime(1985, 1, 1))
        events = [
            Event(UCDDB_EVENTS[k % len(UCDDB_EVENTS)], float(round(event.start_s)), 12.0 + k)
            for k, event in enumerate(random_events(stages, rng))
        ]
        no_events = [Event("pb", 31.0, 40.0), Event("possible", 90.0, 10.0)]
        stage_path, respevt_path = root / f"{name}_stage.txt", root / f"{name}_respevt.txt"
        write_ucddb(stage_path, stages, [*events, *no_events], start.time(), respevt_path=respevt_path, rk=True)
        facts = {"age": float(rng.integers(28, 69)), "bmi": round(float(rng.normal(31, 4)), 1), "sex": "male"}
        facts["ahi_as_reported"] = round(float(rng.uniform(2, 90)), 1)
        if i % 3 == 1:
            facts["sex"] = "female"
        row = {"Study Number": name.upper(), "PSG AHI": facts["ahi_as_reported"], "BMI": facts["bmi"]}
        table.append({**row, "Age": f"{facts['age']:g}", "Gender": str(facts["sex"])[0].upper()})
        written.append(Written(name, name, None, duration_s, stages, in_time_order(events), covariates=facts))
    write_csv(root / "SubjectDetails.csv", table)
    return tuple(written)
