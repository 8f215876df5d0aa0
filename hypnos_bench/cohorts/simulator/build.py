"""Write a simulated cohort as a tree in the layout of MrOS: one EDF and one NSRR XML per night, and tables.

A build may be killed, or run twice at once. Every file appears whole by a rename, equal settings give
equal bytes, and the manifest that says "complete" is written last; so whoever comes later completes
what is missing, and two builders only repeat some of each other's work.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.simulator import SIM_VERSION
from hypnos_bench.cohorts.simulator.night import CHANNEL_RATES_HZ, Plan, plan_night, simulate
from hypnos_bench.cohorts.simulator.person import draw_person, later_visit
from hypnos_bench.cohorts.simulator.processes import stream
from hypnos_bench.cohorts.simulator.tables import person_id, tables
from hypnos_bench.errors import DataError, IntegrityError

MANIFEST = "manifest.json"
TREE = "mros-like"

_TEMPORARY = ".build-"
_ABANDONED_S = 3600.0
_SPARE_BYTES = 50_000_000
_MOST_THREADS = 8  # each needs some 200 MB

# Labels of MrOS visit 2 where they differ from visit 1.
_VISIT_2_LABELS = {
    "A1": "M1", "A2": "M2", "LOC": "E1", "ROC": "E2", "ECG L": "ECGL", "ECG R": "ECGR", "L Chin": "LChin",
    "R Chin": "RChin", "Thoracic": "Chest", "Abdominal": "ABD", "SaO2": "SpO2",
}  # fmt: skip

_README = """\
SIMULATED polysomnographies, made by hypnos-bench. Nobody was recorded.
The folder imitates the layout of MrOS visit 1 and 2 (files, labels, tables); it holds none of its data.
Nights are shortened to {cycles} cycles, and channels are stored at {eeg} Hz and below.
"""


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is simulated.

    Parameters
    ----------
    n_persons : int
        One night each.
    n_second_visits : int
        How many of them come again, some years later.
    seed : int
    n_cycles : int
        NREM/REM cycles per night; two keep the order of deep sleep early, REM late at a third of the cost.
    cycle_min : float
        Length of a cycle in minutes before awakenings lengthen it.
    """

    n_persons: int = 36
    n_second_visits: int = 4
    seed: int = 0
    n_cycles: int = 2
    cycle_min: float = 62.0

    def __post_init__(self) -> None:
        if not 0 <= self.n_second_visits <= self.n_persons:
            raise ValueError(f"{self.n_second_visits} second visits of {self.n_persons} persons")

    @property
    def name(self) -> str:
        """Folder name."""
        return f"demo-v{SIM_VERSION}-s{self.seed}-n{self.n_persons}"

    def visits(self) -> list[tuple[int, int]]:
        """(person number, visit) of every night; second visits are spread over the persons."""
        step = max(1, self.n_persons // max(1, self.n_second_visits))
        again = [1 + step // 2 + i * step for i in range(self.n_second_visits)]
        return [(number, 1) for number in range(1, self.n_persons + 1)] + [(number, 2) for number in again]


@dataclass(frozen=True)
class _Night:
    plan: Plan
    edf: str  # below the tree
    xml: str
    edf_bytes: int


def ensure_built(folder: Path, settings: Settings, workers: int | None = None) -> Path:
    """Return the root of the cohort's tree, after writing what is not there yet.

    Parameters
    ----------
    folder : Path
        Cache folder; the cohort goes to a folder of its own below it.
    settings : Settings
    workers : int, optional
        Nights simulated at once; by default one per core.

    Raises
    ------
    DataError
        When it cannot be written: no room, no permission.
    IntegrityError
        When a finished build is there that was made with other settings under the same name.
    """
    home = folder / settings.name
    try:
        _remove_abandoned(home)
        if not _is_complete(home, settings):
            _build(home, settings, workers)
    except OSError as error:
        raise DataError(
            f"{home}: the demo cohort cannot be kept there ({error.strerror or error}); "
            "make room or choose another --cache DIR"
        ) from error
    return home / TREE


def plans(settings: Settings) -> list[Plan]:
    """Course of every night, in the order of ``Settings.visits``. Takes milliseconds per night."""
    persons = {n: draw_person(settings.seed, n) for n in range(1, settings.n_persons + 1)}
    return [
        plan_night(
            settings.seed,
            persons[number] if visit == 1 else later_visit(persons[number], settings.seed, visit),
            settings.n_cycles,
            settings.cycle_min,
        )
        for number, visit in settings.visits()
    ]


def _is_complete(home: Path, settings: Settings) -> bool:
    """Whether the manifest is there, fits, and every file it lists has its size."""
    try:
        text = (home / MANIFEST).read_text("utf-8")
    except FileNotFoundError:
        return False
    try:
        manifest = json.loads(text)
        identity = {key: manifest[key] for key in ("sim_version", "settings")}
        files = dict(manifest["files"])
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"{home / MANIFEST}: damaged ({error}); delete {home} to simulate again") from error
    if identity != _identity(settings):
        raise IntegrityError(f"{home}: simulated with other settings under the same name; delete it to simulate again")
    return all(_size(home / TREE / name) == size for name, size in files.items())


def _identity(settings: Settings) -> dict[str, Any]:
    return {"sim_version": SIM_VERSION, "settings": asdict(settings)}


def _build(home: Path, settings: Settings, workers: int | None) -> None:
    from tqdm import tqdm

    tree = home / TREE
    tree.mkdir(parents=True, exist_ok=True)
    nights = [_night(plan) for plan in plans(settings)]
    missing = [night for night in nights if not _is_written(tree, night)]
    _require_room(home, sum(night.edf_bytes for night in missing))
    # Two builders that start together, with neighbouring process ids, begin at nights far apart.
    turn = int(len(missing) * (os.getpid() * 0.6180339887 % 1))
    missing = missing[turn:] + missing[:turn]
    with _scratch(home) as scratch:
        done = _write_nights(tree, scratch, settings.seed, missing, workers)
        for _ in tqdm(done, total=len(missing), desc="simulate demo cohort", unit="night", disable=None):
            pass
        csvs = tables([night.plan for night in nights])
        readme = _README.format(cycles=settings.n_cycles, eeg=max(CHANNEL_RATES_HZ.values()))
        for name, text in {**csvs, "README.txt": readme}.items():
            _put(scratch, tree / name, text)
        names = [name for night in nights for name in (night.edf, night.xml)] + [*csvs, "README.txt"]
        sizes = {name: _size(tree / name) for name in sorted(names)}
        _put(scratch, home / MANIFEST, json.dumps({**_identity(settings), "files": sizes}, indent=1) + "\n")


def _write_nights(tree: Path, scratch: Path, seed: int, nights: list[_Night], workers: int | None) -> Iterator[None]:
    """Threads, not processes: nearly all time is spent in array code that leaves the interpreter free."""
    from hypnos_bench.threads import usable_cores

    count = min(workers or min(usable_cores(), _MOST_THREADS), len(nights))
    if count <= 1:
        for night in nights:
            _write_night(tree, scratch, seed, night)
            yield
        return
    pool = ThreadPoolExecutor(count)
    try:
        for future in as_completed([pool.submit(_write_night, tree, scratch, seed, night) for night in nights]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_night(tree: Path, scratch: Path, seed: int, night: _Night) -> None:
    from hypnos_bench.cohorts.writers.nsrr_xml import write_nsrr_xml
    from hypnos_bench.signals.edf_writer import write_edf

    if _is_written(tree, night):  # by another builder meanwhile
        return
    plan = night.plan
    labels = _VISIT_2_LABELS if plan.person.visit == 2 else {}
    start = _start(seed, plan)
    channels = simulate(seed, plan, labels)
    edf, xml = scratch / Path(night.edf).name, scratch / Path(night.xml).name
    write_edf(edf, [(c.label, c.rate_hz, c.unit, c.values) for c in channels], start=start)
    stages = [int(stage) for stage in plan.hypnogram.scored]
    write_nsrr_xml(
        xml, stages, plan.events(), float(plan.hypnogram.duration_s), start=start.strftime("%H.%M.%S"), rk=True
    )
    _publish(xml, tree / night.xml)
    _publish(edf, tree / night.edf)  # last: its presence says that the night is done


def _night(plan: Plan) -> _Night:
    visit = plan.person.visit
    stem = f"mros-visit{visit}-{person_id(plan.person.number)}"
    header = 256 * (1 + len(CHANNEL_RATES_HZ))
    return _Night(
        plan,
        f"polysomnography/edfs/visit{visit}/{stem}.edf",
        f"polysomnography/annotations-events-nsrr/visit{visit}/{stem}-nsrr.xml",
        header + 2 * sum(CHANNEL_RATES_HZ.values()) * plan.hypnogram.duration_s,
    )


def _is_written(tree: Path, night: _Night) -> bool:
    return _size(tree / night.edf) == night.edf_bytes and (_size(tree / night.xml) or 0) > 0


def _start(seed: int, plan: Plan) -> datetime:
    """Time of day is real in NSRR files, the date a placeholder."""
    rng = stream(seed, plan.person.number, plan.person.visit, "clock")
    return datetime(1985, 1, 1, 21 + int(rng.integers(0, 3)), int(rng.integers(0, 60)), int(rng.integers(0, 60)))


@contextlib.contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """Folder of one builder's unfinished files, on the same file system so that a rename is enough."""
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(home: Path) -> None:
    """Delete what killed builders left. A living one touches its folder every few seconds."""
    for folder in home.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):  # its builder has just finished
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)


def _put(scratch: Path, path: Path, text: str) -> None:
    temporary = scratch / path.name
    temporary.write_text(text, "utf-8", newline="\n")
    _publish(temporary, path)


def _publish(temporary: Path, path: Path) -> None:
    """Move a finished file into place, surviving a power cut: data first, then the name."""
    with temporary.open("rb+") as handle:
        os.fsync(handle.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(path)


def _require_room(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if needed and free < needed + _SPARE_BYTES:
        raise DataError(
            f"{home}: the demo cohort needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "make room or choose another --cache DIR"
        )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
