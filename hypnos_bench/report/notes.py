"""What must stand under a table: what the numbers are, how many persons are behind them, what is lacking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hypnos_bench.leakage import PRETRAINED_MARK
from hypnos_bench.report.comparison import FEW_PERSONS, Comparison, Count, Row, Value, row_differs

SIMULATED = "simulated: no person was ever recorded; these numbers say nothing about people"
MARKS = {
    "untrained": "untrained: random weights, a control and no trained model",
    "leaky": "leaky: units of one person are on both sides of the split; this shows what that does to a score",
    PRETRAINED_MARK: f"{PRETRAINED_MARK}: the encoder has learnt from its recordings, those of test persons perhaps",
    "bf16": "bf16: temporal layers computed in bfloat16, tokens in float32",
}
ASSUMED = (
    "every recording counts as its own person: somebody recorded twice would be trained and tested on; "
    "say who is who with --person-pattern"
)
DENIED = "not embedded by "
"""How the reason begins for which a recording is left out because another encoder of the run lost it."""
SHOWN = 3
"""How many reasons a terminal shows; reports show all."""


@dataclass(frozen=True)
class Footnotes:
    """Letters per (row id, shots, metric) and the texts they stand for, without letters."""

    letters: Mapping[tuple[str, str, str], str]
    texts: tuple[str, ...]

    def lines(self) -> list[str]:
        """``(a) text`` per footnote."""
        return [f"({letter(i)}) {text}" for i, text in enumerate(self.texts)]


def letter(i: int) -> str:
    """Footnote letters: a .. z, aa .. az, ba .."""
    return (letter(i // 26 - 1) if i >= 26 else "") + chr(ord("a") + i % 26)


def footnotes(comparison: Comparison, shown: int | None = SHOWN) -> Footnotes:
    """Say of every entry that lacks seeds, or a value, why; `shown` limits the messages per footnote."""
    subjects: dict[str, dict[str, list[str]]] = {}
    letters = {}
    for shots in comparison.shots:
        for row in comparison.rows:
            for metric in comparison.metrics:
                text = _reason(comparison.values.get((row.id, shots, metric)), metric, shown)
                if text:
                    who = subjects.setdefault(text, {}).setdefault(row.name, [])
                    if shots not in who:
                        who.append(shots)
                    letters[row.id, shots, metric] = letter(list(subjects).index(text))
    said = {text: ", ".join(f"{n} at {', '.join(s)}" for n, s in who.items()) for text, who in subjects.items()}
    return Footnotes(letters, tuple(f"{who}: {text}" for text, who in said.items()))


def _reason(value: Value | None, metric: str, shown: int | None) -> str:
    if value is None:
        return "not computed"
    n, parts = value.n_planned, []
    if value.failures:
        messages = [f"{text} ({count} x)" if count > 1 else text for text, count in value.failures]
        failed = "failed" if value.n_failed == n == 1 else f"{value.n_failed} of {n} seeds failed"
        parts.append(f"{failed}: {shorten(messages, shown)}")
    if value.n_missing:
        parts.append(f"{value.n_missing} of {n} seeds not computed yet")
    if value.undefined:
        why = f" ({shorten(value.reasons, shown)})" if value.reasons else ""
        parts.append(f"{metric} is undefined in {value.undefined} of {n} seeds{why}")
    if parts and value.seeds:
        parts.insert(0, f"mean of {len(value.seeds)} of {n} seeds{'' if value.ranked else ', not ranked'}")
    return "; ".join(parts)


def shorten(items: Sequence[str], shown: int | None, joint: str = "; ") -> str:
    """First `shown` items, the rest counted."""
    if shown is None or len(items) <= shown:
        return joint.join(items)
    return joint.join([*items[:shown], f"and {len(items) - shown} more"])


def warnings(comparison: Comparison) -> list[str]:
    """What nobody may overlook: simulated persons, untrained weights, too few persons, unequal test sets."""
    found = [SIMULATED] if comparison.simulated else []
    for mark in sorted({mark for row in comparison.rows for mark in row.marks}):
        found.append(MARKS.get(mark, f"{mark}: see the encoder's card"))
    total, tested = comparison.count("persons_total"), comparison.count("persons_test")
    if any(count is not None and count[0] < FEW_PERSONS for count in (total, tested)):
        found.append(
            f"far too few persons for a result: {span(total)} in all, {span(tested)} tested "
            f"(fewer than {FEW_PERSONS}); read this as a check that the pipeline runs"
        )
    if any(cell.n.get("persons_assumed") for row in comparison.rows for cell in comparison.cells_of(row)):
        found.append(ASSUMED)
    if len(set(_tests(comparison).values())) > 1:
        found.append("the rows are not scored on the same recordings: compare them with care")
    return found


def _tests(comparison: Comparison) -> dict[str, tuple[object, ...]]:
    """Row id to what it was tested on."""
    found: dict[str, tuple[object, ...]] = {}
    for row in comparison.rows:
        done = comparison.finished(row)
        if done:
            counts = {tuple(c.n.get(k) for k in ("persons_test", "recordings_test", "units_test")) for c in done}
            splits = {c.provenance.get("split_hash") for c in done}
            found[row.id] = (frozenset(counts), frozenset(splits))
    return found


def differences(comparison: Comparison) -> list[str]:
    """Say what tells apart tables of one name, and rows of one name."""
    found = []
    if comparison.suffix:
        found.append(
            f"#{comparison.suffix}: there is another table of this name; they differ in "
            f"{', '.join(comparison.differs)} and must not be compared"
        )
    for row in comparison.rows:
        if row.suffix:
            parts = [f"{name} {short(value)}" for name, value in row_differs(comparison, row)]
            found.append(f"{row.name}: {', '.join(parts)}")
    return found


def short(value: object) -> str:
    """Any setting in few characters: hashes are cut, blocks are listed."""
    if isinstance(value, Mapping):
        return " ".join(f"{k}={short(v)}" for k, v in sorted(value.items())) or "none"
    if isinstance(value, (list, tuple)):
        return ",".join(map(short, value)) or "none"
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def reading(comparison: Comparison, compact: bool = False) -> str:
    """What ± and [ ] are in this table; `compact` when only the main metric's intervals are printed."""
    several = {s: n for s in comparison.shots if (n := _seeds(comparison, s)) > 1}
    parts: list[str] = []
    if several:
        draws = ", ".join(f"{s}: {n}" for s, n in several.items())
        parts.append(f"± is the sd over seeds (few-shot draws; initialisations of heads that draw), {draws}")
    mean = ", mean of the seeds' bounds" if several else ""
    resamples = comparison.spec.get("bootstrap")
    parts.append(f"[ ] is the 95 % bootstrap interval over test persons ({resamples} resamples{mean})")
    if compact and len(comparison.metrics) > 1:
        parts.append("intervals of the other metrics are in the report")
    return "; ".join(parts)


def _seeds(comparison: Comparison, shots: str) -> int:
    return max((v.n_planned for (_, s, _), v in comparison.values.items() if s == shots), default=0)


def shots_line(comparison: Comparison) -> str:
    """``1% = 1 of 29 training persons``, for every label budget."""
    fold = " in each fold" if comparison.folded else ""
    parts: list[str] = []
    for shots in comparison.shots:
        train, available = comparison.count("persons_train", shots), comparison.count("persons_available", shots)
        noun = "" if parts else " training person" if available == (1, 1) else " training persons"
        share = f"{shots} = {span(train)} of {span(available)}" if train else f"{shots} = unknown number of"
        parts.append(f"{share}{noun}{'' if parts else fold}")
    return "; ".join(parts)


def tested_line(comparison: Comparison) -> str:
    """How many persons, recordings and units the scores rest on; per row where rows differ."""

    def text(row: Row) -> str:
        counts = [_row_count(comparison, row, name) for name in ("persons_test", "recordings_test", "units_test")]
        if counts[0] is None:
            return ""
        people, nights, units = counts
        rows = "" if comparison.by_person else f", {span(units)} {comparison.unit}"
        return f"{span(people)} persons, {span(nights)} recordings{rows}"

    said = per_row(comparison, text)
    return f"tested on {said}" if said else "tested on nothing: every cell failed"


def _row_count(comparison: Comparison, row: Row, name: str) -> Count:
    known = [c for (variant, _), n in comparison.counts.items() if variant == row.id and (c := n[name]) is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def per_row(comparison: Comparison, text: Callable[[Row], str]) -> str:
    """One text when all rows agree, else one per row; rows that have nothing to say are left out."""
    said = {row.name: text(row) for row in comparison.rows if text(row)}
    if len(set(said.values())) <= 1:
        return next(iter(said.values()), "")
    return "; ".join(f"{name}: {words}" for name, words in said.items())


def exclusions(comparison: Comparison) -> list[str]:
    """``recording: reason`` for all excluded recordings, each once; the encoder is named where only some lost it.

    What one row lost and the others were denied for its sake stands once, in the words of the row that lost it.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for row in comparison.rows:
        for cell in comparison.cells_of(row):
            for entry in cell.n.get("excluded", ()):
                reason = " ".join(str(entry["reason"]).split())
                found.setdefault(str(entry["recording"]), {}).setdefault(reason, set()).add(row.name)
    everyone = {row.name for row in comparison.rows}
    lines = []
    for recording, reasons in sorted(found.items()):
        own = {reason: rows for reason, rows in reasons.items() if not reason.startswith(DENIED)} or reasons
        told = [
            reason + ("" if rows == everyone else f" ({', '.join(sorted(rows))})")
            for reason, rows in sorted(own.items())
        ]
        lines.append(f"{recording}: {'; '.join(told)}")
    return lines


def excluded_line(comparison: Comparison, reasons: bool = True) -> str:
    """Number of excluded recordings and the first reasons, or an empty string."""
    items = exclusions(comparison)
    recordings = {entry["recording"] for cell in comparison.cells for entry in cell.n.get("excluded", ())}
    noun = "recording" if len(recordings) == 1 else "recordings"
    if not items:
        return ""
    return f"excluded: {len(recordings)} {noun}" + (f": {shorten(items, SHOWN)}" if reasons else ", listed below")


def duplicates_line(comparison: Comparison) -> str:
    """What the search for duplicate recordings came to, or an empty string."""
    told = next((cell.n["duplicates"] for cell in comparison.cells if "duplicates" in cell.n), None)
    if told is None:
        return ""
    pairs = ", ".join(f"{a} = {b}" for a, b in told["pairs"])
    searched = f"duplicate recordings: {told['compared']} compared, {told['not_compared']} could not be"
    return f"{searched}; kept on one side: {pairs}" if pairs else f"{searched}; none found"


def dropped_line(comparison: Comparison) -> str:
    """Units that were not scored, by reason, or an empty string."""

    def text(row: Row) -> str:
        cell = comparison.cells_of(row)[0]
        return ", ".join(f"{n:,} {reason}" for reason, n in sorted(cell.n.get("units_dropped", {}).items()) if n)

    said = per_row(comparison, text)
    return f"{'' if comparison.by_person else f'{comparison.unit} '}left out: {said}" if said else ""


def label_line(comparison: Comparison) -> str:
    """Which column the labels come from, and how many events; empty where annotations are asked about."""
    if not comparison.column:
        return ""

    def text(row: Row) -> str:
        counts = [cell.n for cell in comparison.cells_of(row) if "events" in cell.n]
        return f"{counts[0]['events']:,} events among {counts[0]['at_risk']:,} at risk" if counts else ""

    events = per_row(comparison, text)
    return f"label: {comparison.column}{f' ({events}, training and test)' if events else ''}"


def inputs_lines(comparison: Comparison) -> list[str]:
    """What ``+ demographics`` and ``mean-sd`` mean in the names of rows, and what was filled in."""
    inputs = [comparison.cells_of(row)[0].spec.get("inputs") or {} for row in comparison.rows]
    found = []
    if any(i.get("pooling", "mean") != "mean" for i in inputs):
        found.append("mean-sd: mean and sd of the embedding over time, side by side; without it the mean alone")
    names = {(bool(i["embedding"]), tuple(i["demographics"])) for i in inputs if i.get("demographics")}
    for embedding, covariates in sorted(names, reverse=True):
        said = ", ".join(covariates)
        found.append(
            f"+ demographics: {said} beside the embedding" if embedding else f"demographics: {said}, no signal"
        )
    if names:
        filled = [s["demographics_filled"] for c in comparison.cells for s in c.selected if "demographics_filled" in s]
        if filled:
            found.append(
                f"up to {max(filled):,} missing demographics per fit are filled with the mean of the training persons"
                if max(filled)
                else "no demographics are missing"
            )
    if comparison.spec["task"].get("demographics") and not any(not embedding for embedding, _ in names):
        found.append(
            "there is no demographics-only row: the cohort has none of the task's covariates, or it is not run"
        )
    return found


def span(count: Count) -> str:
    """``8``, ``23–24``, or ``?`` when no cell knows."""
    if count is None:
        return "?"
    low, high = count
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
