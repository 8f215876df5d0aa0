"""Fake SHHS tables: covariates, flags, and cardiovascular outcomes whose truth is kept beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hypnos_bench.cohorts.base import Outcome
from hypnos_bench.cohorts.writers.csv_tables import write_csv

_DAYS_PER_YEAR = 365.25

# Event column of the summary table: its date column, the prevalent column, its number in the table of events.
_EVENTS: Mapping[str, tuple[str, str | None, int | None]] = {
    "stroke": ("stk_date", "prev_stk", 10),
    "chf": ("chf_date", "prev_chf", 4),
    "mi": ("mi_date", "prev_mi", 5),
    "angina": ("ang_date", "prev_ang", 1),
    "revasc_proc": ("revpro_date", "prev_revpro", 8),
    "cvd_death": ("cvd_dthdt", None, None),
    "chd_death": ("chd_dthdt", None, None),
}
_COUNTED = ("stroke", "chf", "mi", "angina")
"""Columns that count events; the others are 0 or 1."""
_CORONARY = ("mi", "angina", "revasc_proc", "chd_death")


@dataclass(frozen=True)
class ShhsPerson:
    """What is true of a fake person; days from the first recording.

    Parameters
    ----------
    nsrrid : int
    age : int
        Years at the first recording.
    sex : {"male", "female"}
    end_day : int
        End of follow-up: death for those who died.
    died : bool
    days : mapping of str to int
        Event column (``"stroke"``) to the day of the first event; who never had one has no entry.
    before : tuple of str
        Event columns of what had happened before the first recording.
    day_2 : int, optional
        Of the second recording.
    """

    nsrrid: int
    age: int
    sex: str
    end_day: int
    died: bool
    days: Mapping[str, int] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    day_2: int | None = None

    def outcome(self, event: str, visit: str = "1") -> Outcome | None:
        """Truth of one column of the summary table, ``None`` where follow-up ended before the recording."""
        start = 0 if visit == "1" else self.day_2
        if start is None:
            return None
        parts = _parts(event)
        day = (
            self.end_day
            if event == "vital" and self.died
            else min((self.days[p] for p in parts if p in self.days), default=None)
        )
        if set(parts) & set(self.before) or (day is not None and day <= start):
            return Outcome(event=False, time_years=None, prevalent=True)
        if day is not None:
            return Outcome(event=True, time_years=(day - start) / _DAYS_PER_YEAR)
        if self.end_day <= start:
            return None
        return Outcome(event=False, time_years=(self.end_day - start) / _DAYS_PER_YEAR)


def _parts(event: str) -> tuple[str, ...]:
    """Events that make up a column."""
    if event == "any_cvd":
        return tuple(_EVENTS)
    return _CORONARY if event == "any_chd" else (event,)


def random_persons(nsrrids: Sequence[int], seed: int = 0, visit_2: Collection[int] = ()) -> tuple[ShhsPerson, ...]:
    """Persons with follow-up of up to 15 years, some events before and after the second recording."""
    rng = np.random.default_rng(seed)
    persons = []
    for nsrrid in nsrrids:
        end = int(rng.integers(400, 5500))
        died = bool(rng.random() < 0.4)
        days = {e: int(rng.integers(1, end + 1)) for e in _EVENTS if not e.endswith("death") and rng.random() < 0.3}
        if died and rng.random() < 0.5:
            days["cvd_death"] = end
            if rng.random() < 0.5:
                days["chd_death"] = end
        before = tuple(e for e, (_, prevalent, _) in _EVENTS.items() if prevalent and rng.random() < 0.1)
        day_2 = int(rng.integers(365, end)) if nsrrid in visit_2 else None
        persons.append(
            ShhsPerson(
                nsrrid,
                int(rng.integers(40, 90)),
                ("male", "female")[int(rng.integers(2))],
                end,
                died,
                days,
                before,
                day_2,
            )
        )
    return tuple(persons)


def write_shhs_tables(
    folder: Path, persons: Sequence[ShhsPerson], *, version: str = "0.21.0", events: bool = True
) -> dict[str, Path]:
    """Write the tables of a download to a folder (``datasets``).

    Parameters
    ----------
    folder : Path
    persons : sequence of ShhsPerson
        As `random_persons` makes them, or by hand.
    version : str
        Release in the file names.
    events : bool
        Whether the table of single events is written too; several rows per person.

    Returns
    -------
    dict of str to Path
        ``shhs1``, ``shhs2``, ``summary``, ``harmonized`` and ``events``.
    """
    tables = {
        "shhs1": ("shhs1-dataset", [_first(person) for person in persons]),
        "shhs2": ("shhs2-dataset", [_second(person) for person in persons if person.day_2 is not None]),
        "summary": ("shhs-cvd-summary-dataset", [_summary(person) for person in persons]),
        "harmonized": ("shhs-harmonized-dataset", [row for person in persons for row in _harmonized(person)]),
    }
    if events:
        tables["events"] = ("shhs-cvd-events-dataset", [row for person in persons for row in _single_events(person)])
    return {
        key: write_csv(folder / f"{name}-{version}.csv", rows, encoding="windows-1252")
        for key, (name, rows) in tables.items()
        if rows
    }


def _first(person: ShhsPerson) -> dict[str, object]:
    return {
        "nsrrid": person.nsrrid,
        "pptid": person.nsrrid - 200_000,
        "age_s1": person.age,
        "gender": 1 if person.sex == "male" else 2,
        "race": 1,
        "bmi_s1": 27.5,
        "ahi_a0h3": 9.25,
        "ahi_a0h3a": 11.5,
        "ahi_a0h4": 6.5,
        "ahi_a0h4a": 8.75,
        "rdi0p": 22.5,
        "rdi3p": 11.25,
        "rdi4p": 7.5,
        "ai_all": 18.0,
        "slpprdp": 371,
        "staging5": 0,
        "overall_shhs1": 5,
        "comments": "scorer’s note: doesn’t matter",  # holds a byte that is no UTF-8
    }


def _second(person: ShhsPerson) -> dict[str, object]:
    day = person.day_2 or 0
    return {
        "nsrrid": person.nsrrid,
        "age_s2": person.age + round(day / _DAYS_PER_YEAR),
        "gender": 1 if person.sex == "male" else 2,
        "bmi_s2": 28.5,
        "ahi_a0h3": 10.25,
        "stdatep": day,
        "slewake": 0,
    }


def _summary(person: ShhsPerson) -> dict[str, object]:
    row: dict[str, object] = {
        "nsrrid": person.nsrrid,
        "vital": 0 if person.died else 1,
        "censdate": person.end_day,
    }
    for event, (date, prevalent, _) in _EVENTS.items():
        day = person.days.get(event)
        row[event] = 0 if day is None else 1 + (event in _COUNTED and day % 2)  # some had it twice
        row[date] = day
        if prevalent is not None:
            row[prevalent] = int(event in person.before)
    for event in ("any_cvd", "any_chd"):
        row[event] = int(any(part in person.days for part in _parts(event)))
    for event in ("ptca", "cabg"):
        row[event] = 0
        row[f"{event}_date"] = None
    row["afibincident"], row["afibprevalent"] = 0, 0
    return row


def _harmonized(person: ShhsPerson) -> list[dict[str, object]]:
    days = [0] if person.day_2 is None else [0, person.day_2]
    return [
        {
            "nsrrid": person.nsrrid,
            "visitnumber": visit,
            "nsrr_age": person.age + round(day / _DAYS_PER_YEAR),
            "nsrr_sex": person.sex,
            "nsrr_bmi": 27.5 if visit == 1 else 28.5,
            "nsrr_flag_spsw": "full scoring",
        }
        for visit, day in enumerate(days, start=1)
    ]


def _single_events(person: ShhsPerson) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for event, (_, _, number) in _EVENTS.items():
        day = person.days.get(event)
        if number is not None and day is not None:
            rows.append({"nsrrid": person.nsrrid, "event": number, "event_dt": day})
            rows.append({"nsrrid": person.nsrrid, "event": number, "event_dt": day + 1})
    return rows
