"""The terms on which rows are compared: who has seen the test persons before, what each lost, how rows are aligned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hypnos_bench.report.comparison import Comparison, Row
from hypnos_bench.report.notes import SHOWN, per_row, shorten
from hypnos_bench.store.cells import Cell

STATUSES = ("person seen", "cohort seen", "not known", "clean")
"""What may be known of pre-training, worst first: a row shows the worst of its cells."""

_MEANING: Mapping[str, str] = {
    "person seen": "recordings of persons who are tested here were in its pre-training",
    "cohort seen": "recordings of this cohort were in its pre-training, as far as is known of other persons",
    "not known": "what it was pre-trained on is not published, or no list was added (hypnos-bench exposure add)",
    "clean": "nothing of this cohort was in its pre-training, by its card or by the lists that were added",
}


def lines(comparison: Comparison) -> list[str]:
    """Everything that stands under a table on its terms."""
    found = [
        *common_lines(comparison),
        *exposure_lines(comparison),
        clean_only_line(comparison),
        overlap_line(comparison),
    ]
    return [line for line in found if line]


def has_exposure(comparison: Comparison) -> bool:
    """Whether any cell says what its encoder has seen before."""
    return any(cell.n.get("exposure") for cell in comparison.cells)


def exposure(comparison: Comparison, row: Row) -> str:
    """``clean``, ``cohort seen``, ``person seen (154 of 372)`` or ``not known``; ``–`` where no cell says."""
    blocks = _blocks(comparison.cells_of(row), "exposure")
    for status in STATUSES:
        alike = [block for block in blocks if block["status"] == status]
        if alike and status == "person seen":
            worst = max(alike, key=lambda block: (block["persons"], block["persons_test"]))
            return f"{status} ({worst['persons']:,} of {worst['persons_test']:,})"
        if alike:
            return status
    return "–"


def exposure_lines(comparison: Comparison) -> list[str]:
    """What the words of the exposure column mean here, and where they are taken from."""
    said: dict[str, list[str]] = {}
    for row in comparison.rows:
        status = exposure(comparison, row).partition(" (")[0]
        if status in _MEANING:
            said.setdefault(status, []).append(f"{row.name}{_sources(comparison, row)}")
    return [
        f"{'EXPOSED: ' if status == 'person seen' else ''}{status}: {_MEANING[status]}: {', '.join(said[status])}"
        for status in STATUSES
        if status in said
    ]


def clean_only_line(comparison: Comparison) -> str:
    """How many exposed persons were left out of the test side, or an empty string."""
    left = [n["untested"] for cell in comparison.cells if (n := cell.n).get("untested")]
    if not left:
        return ""
    most = max(left, key=lambda block: int(block["persons"]))
    if not most["persons"]:
        return "clean only: no encoder of the run has seen any of the persons, as far as is known"
    people = "1 person" if most["persons"] == 1 else f"{most['persons']:,} persons"
    seen = f"{people}, {most['recordings']:,} recordings"
    return f"clean only: not tested, since an encoder of the run has seen them: {seen}"


def common_lines(comparison: Comparison) -> list[str]:
    """What the rows have in common, and what each encoder lost of it, with reasons; rows without a result apart."""
    there = [row for row in comparison.rows if comparison.finished(row)]
    shared = {tuple(sorted(block.items())) for row in there for block in _blocks(comparison.finished(row), "common")}
    if len(shared) != 1:
        return []
    block = dict(shared.pop())
    units = "" if comparison.by_person else f" and {block['units']:,} {comparison.unit}"
    who = "all rows" if len(there) == len(comparison.rows) else ", ".join(row.name for row in there)
    lost = [f"by {row.name} {text}" for row in comparison.rows if (text := _lost(comparison, row))]
    return [f"{who}: {block['recordings']:,} recordings{units} in common; lost: {'; '.join(lost) or 'nothing'}"]


def alignment_lines(comparison: Comparison) -> list[str]:
    """How embedding rows lie on the label grid, per encoder."""

    def text(row: Row) -> str:
        return next((str(cell.n["alignment"]) for cell in comparison.cells_of(row) if cell.n.get("alignment")), "")

    said = per_row(comparison, text)
    return [f"Alignment to the label grid: {said}"] if said else []


def overlap_line(comparison: Comparison) -> str:
    """Persons on both sides of a published split, as cells state it, or an empty string."""
    return next((str(cell.n["overlap"]["text"]) for cell in comparison.cells if cell.n.get("overlap")), "")


def _lost(comparison: Comparison, row: Row) -> str:
    blocks = _blocks(comparison.cells_of(row), "lost")
    if not blocks or not (blocks[0]["recordings"] or blocks[0]["units"]):
        return ""
    block = blocks[0]
    units = f"{block['units']:,} {comparison.unit}" if block["units"] and not comparison.by_person else ""
    counts = Counter({str(reason): int(n) for reason, n in block["reasons"].items()}).most_common()
    reasons = shorten([f"{n:,} x {reason}" for reason, n in counts], SHOWN)
    recordings = f"{block['recordings']:,} recordings" if block["recordings"] else ""
    return ", ".join(part for part in (recordings, units) if part) + (f" ({reasons})" if reasons else "")


def _sources(comparison: Comparison, row: Row) -> str:
    names = sorted({s for block in _blocks(comparison.cells_of(row), "exposure") for s in block.get("sources", ())})
    return f" (by {', '.join(names)})" if names else ""


def _blocks(cells: Sequence[Cell], name: str) -> list[dict[str, Any]]:
    return [dict(cell.n[name]) for cell in cells if cell.n.get(name)]
