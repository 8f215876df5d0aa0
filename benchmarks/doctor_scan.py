"""How long ``hypnos-bench doctor`` takes over a cohort of thousands of nights.

Writes a tree of MrOS at full size: EDF headers of thirteen channels with eight hours behind them (sparse files: they
have the right length and next to no content), annotations of 1,200 events, tables with 400 columns. A few different
annotations are written and linked. The doctor runs as a process of its own. The last line printed is JSON.

    python benchmarks/doctor_scan.py
    python benchmarks/doctor_scan.py --quick              200 recordings
    python benchmarks/doctor_scan.py --recordings 1000 --workers 1 --folder /big/disk
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Neighbours, machine

from hypnos_bench.cohorts.base import Event
from hypnos_bench.cohorts.card_toml import load_layout
from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
from hypnos_bench.cohorts.writers.synthetic import random_stages
from hypnos_bench.errors import BenchError
from hypnos_bench.signals.edf_writer import write_edf
from hypnos_bench.threads import usable_cores

HOURS = 8
EVENTS = 1200
XMLS = 16
OTHER_COLUMNS = 400  # that the card does not ask for
_EEG = ("C3", "C4", "A1", "A2", "LOC", "ROC", "L Chin", "R Chin")
_RATES_HZ = {**dict.fromkeys(_EEG, 256), "ECG L": 512, "ECG R": 512, "Thoracic": 16, "Abdominal": 16, "SaO2": 1}
_KINDS = ("hypopnea", "desaturation", "arousal", "obstructive-apnea", "desaturation", "central-apnea")


def write_tree(root: Path, n_recordings: int) -> dict[str, float]:
    """Write the cohort; returns megabytes of one annotation and of the tables."""
    base = root / "mros"
    edfs = base / "polysomnography/edfs/visit1"
    xmls = base / "polysomnography/annotations-events-nsrr/visit1"
    for folder in (edfs, xmls):
        folder.mkdir(parents=True)
    header, size = night_header(root)
    originals = [annotation(root / f"{i}.xml", seed=i) for i in range(min(XMLS, n_recordings))]
    persons = [f"aa{i:04d}" for i in range(1, n_recordings + 1)]
    for i, person in enumerate(persons):
        with (edfs / f"mros-visit1-{person}.edf").open("wb") as file:
            file.write(header)
            file.truncate(size)
        os.link(originals[i % len(originals)], xmls / f"mros-visit1-{person}-nsrr.xml")
    tables = [base / f"datasets/mros-visit{visit}-dataset-0.6.0.csv" for visit in (1, 2)]
    tables.append(base / "datasets/mros-visit1-harmonized-0.6.0.csv")
    for path in tables:
        write_table(path, persons)
    return {
        "annotation_mb": round(originals[0].stat().st_size / 1e6, 3),
        "tables_mb": round(sum(path.stat().st_size for path in tables) / 1e6, 1),
    }


def night_header(folder: Path) -> tuple[bytes, int]:
    """Header of a night, and how long its file has to be."""
    path = folder / "second.edf"
    write_edf(path, [(label, rate, "uV", np.zeros(rate)) for label, rate in _RATES_HZ.items()])
    header = path.read_bytes()[: 256 * (1 + len(_RATES_HZ))]
    records = HOURS * 3600
    counted = header[:236] + str(records).encode().ljust(8) + header[244:]  # the field of the number of data records
    return counted, len(header) + records * 2 * sum(_RATES_HZ.values())


def annotation(path: Path, seed: int) -> Path:
    """One night's scoring."""
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.uniform(0, HOURS * 3600 - 60, EVENTS)).round(1)
    events = [Event(_KINDS[i % len(_KINDS)], float(start), 14.3) for i, start in enumerate(starts)]
    write_nsrr_xml(path, random_stages(HOURS * 120, rng), events, HOURS * 3600.0, rk=True)
    return path


def write_table(path: Path, persons: list[str]) -> None:
    """Write a table that has every column the card asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = load_layout("mros")
    asked = [column for columns in layout.covariates.columns.values() for column in columns]
    flags = dict.fromkeys(flag.column for flag in layout.flags if flag.column not in asked)
    others = [f"other{i}" for i in range(OTHER_COLUMNS)]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["nsrrid", *asked, *flags, *others])
        for i, person in enumerate(persons):
            unasked = [str((i + k) % 97) for k in range(len(others))]
            writer.writerow([person.upper(), *["1"] * len(asked), *[""] * len(flags), *unasked])


def examine(root: Path, workers: int) -> dict[str, Any]:
    """Run the doctor and measure it."""
    words = ["doctor", "cohort", "mros", "--root", str(root), "--reports", str(root / "reports"), "--json"]
    output = root / "diagnosis.json"
    neighbours, started = Neighbours(), time.perf_counter()
    with output.open("wb") as stdout:
        command = [sys.executable, "-m", "hypnos_bench", *words, "--workers", str(workers)]
        process = subprocess.Popen(command, stdout=stdout)
        peak = _Peak(process.pid)
        code = process.wait()
    seconds = time.perf_counter() - started
    peak_mb = peak.stop()
    if code != 0:
        raise BenchError(f"the doctor ended with code {code} on a cohort without a fault; see {output}")
    found = json.loads(output.read_text("utf-8"))
    others = neighbours.share()
    return {
        "recordings": found["n_recordings"],
        "epochs": sum(found["labels"]["stage"].values()),
        "seconds": round(seconds, 2),
        "recordings_per_s": round(found["n_recordings"] / seconds, 1),
        "peak_mb": None if peak_mb is None else round(peak_mb),
        "others_share": None if others is None else round(others, 3),
    }


class _Peak:
    """Most memory that a process and all below it held at a time, by looking ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float | None:
        """Megabytes; None where the kernel does not say."""
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            held = [_resident_mb(pid) for pid in _tree(self._pid)]
            if any(held):
                self._most = max(self._most or 0.0, sum(held))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has ended, or this is no Linux
        return
    for child in children.split():
        yield from _tree(int(child))


def _resident_mb(pid: int) -> float:
    """Memory of its own and its share of what it holds together with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


def main() -> None:
    """Parse the command line, write the tree, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=_count, default=4000)
    parser.add_argument("--workers", type=_count, default=usable_cores(), help="default: one per core")
    parser.add_argument("--folder", type=Path, help="where the tree is written for the time being")
    parser.add_argument("--quick", action="store_true", help="200 recordings")
    options = parser.parse_args()
    n = 200 if options.quick else options.recordings
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        started = time.perf_counter()
        sizes = write_tree(Path(folder), n)
        print(f"written in {time.perf_counter() - started:.1f} s: {n} nights of {HOURS} h, {EVENTS} events each")
        try:
            result = examine(Path(folder), options.workers)
        except BenchError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
    print(
        f"doctor, {options.workers} workers: {result['seconds']} s, {result['recordings_per_s']} recordings a second, "
        f"{result['peak_mb']} MB at the peak; others used {result['others_share']} of the cores"
    )
    print(json.dumps({"benchmark": "doctor_scan", **result, **sizes, "machine": machine(options.workers)}))


def _count(word: str) -> int:
    if int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {word}")
    return int(word)


if __name__ == "__main__":
    main()
