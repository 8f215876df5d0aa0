"""Tables of a simulated cohort, with the columns that MrOS uses for its persons and nights."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from hypnos_bench.cohorts.simulator import SIM_VERSION
from hypnos_bench.cohorts.simulator.night import Plan


def person_id(number: int) -> str:
    """Person id as file names have it; tables write it in upper case."""
    return f"aa{number:04d}"


def tables(plans: Sequence[Plan]) -> dict[str, str]:
    """CSV text by path below the tree, one table per visit; indices are counted from what was simulated."""
    found: dict[str, str] = {}
    for visit, age_column in ((1, "vsage1"), (2, "vs2age1")):
        rows = [_row(plan, age_column) for plan in plans if plan.person.visit == visit]
        if rows:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            found[f"datasets/mros-visit{visit}-dataset-0.{SIM_VERSION}.0.csv"] = text.getvalue()
    return found


def _row(plan: Plan, age_column: str) -> Mapping[str, Any]:
    person = plan.person
    return {
        "nsrrid": person_id(person.number).upper(),
        "visit": person.visit,
        age_column: round(person.age_years),
        "gender": 2,
        "hwbmi": round(person.bmi_kg_m2, 1),
        "poahi3": round(plan.ahi(3.0), 2),
        "poahi3a": round(plan.ahi(3.0, or_arousal=True), 2),
        "poahi4": round(plan.ahi(4.0), 2),
        "poahi4a": round(plan.ahi(4.0, or_arousal=True), 2),
        "poslprdp": round(60 * plan.sleep_h()),
        "poai_all": round(len(plan.arousals) / max(plan.sleep_h(), 0.1), 2),
        "poprstag": 0,
        "mhafib": int(person.af),
    }
