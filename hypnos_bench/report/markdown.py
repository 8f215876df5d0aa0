"""The report: one Markdown file per task and cohort, with tables, figures, methods and provenance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hypnos_bench.errors import DataError
from hypnos_bench.report import methods, notes
from hypnos_bench.report.comparison import Comparison, Row, comparisons
from hypnos_bench.report.figures import Panel, confusion_figure, few_shot_curve
from hypnos_bench.report.notes import Footnotes, footnotes
from hypnos_bench.report.tables import Entry, entries, escape, markdown_label, markdown_table
from hypnos_bench.store.atomic import atomic_write, safe_name
from hypnos_bench.store.cells import Cell, CellStore


def write_report(cells: Iterable[Cell], out_dir: Path, store: CellStore | None = None) -> list[Path]:
    """Write ``<task>-<cohort>.md`` per task and cohort, and its figures as SVG and PNG beside it.

    The same cells in any order give the same bytes. Nothing is scored: confusion matrices are read from side files.

    Parameters
    ----------
    cells : iterable of Cell
    out_dir : Path
        Made when missing.
    store : CellStore, optional
        Where the cells' side files lie. Without it the report has no confusion matrices, and says so.

    Returns
    -------
    list of Path
        The Markdown files, then the figures.

    Raises
    ------
    DataError
        When the disk refuses.
    IntegrityError
        When a side file is damaged, or one key carries two results.
    """
    texts: dict[Path, list[str]] = {}
    figures: list[Path] = []
    for comparison in comparisons(cells):
        path = out_dir / f"{safe_name(f'{comparison.task}-{comparison.cohort}')}.md"
        made: dict[str, bytes] = {}
        if path not in texts:
            texts[path] = [_heading(comparison)]
        texts[path].append(_section(comparison, store, made))
        for name, content in made.items():
            figures.append(out_dir / name)
            _save(figures[-1], content)
    for path, parts in texts.items():
        _save(path, ("\n\n".join(parts) + "\n").encode())
    return [*texts, *figures]


def _save(path: Path, content: bytes) -> None:
    try:
        atomic_write(path, content)
    except DataError as error:
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__ or error
        raise DataError(f"{path}: cannot be written ({reason}); make room or choose another --reports DIR") from error


def _heading(comparison: Comparison) -> str:
    mark = " (*simulated*)" if comparison.simulated else ""
    return f"# {escape(comparison.task)} on {escape(comparison.cohort)}{mark}"


def _section(comparison: Comparison, store: CellStore | None, made: dict[str, bytes]) -> str:
    found = footnotes(comparison, shown=None)
    parts = [
        f"## {escape(comparison.title)}",
        *(f"> **{escape(line)}**" for line in notes.warnings(comparison)),
        _main_table(comparison, found),
        _notes(comparison, found),
        _curve(comparison, made),
        "### All metrics",
        *_metric_tables(comparison, found),
        methods.per_recording(comparison),
        _bullets([escape(line) for line in methods.definitions(comparison)]),
        f"### Confusion\n\n{_confusion(comparison, store, made)}",
        _methods(comparison),
        _exclusions(comparison),
        "### Provenance\n\n" + methods.encoder_table(comparison),
        _bullets(methods.provenance(comparison)),
    ]
    return "\n\n".join(part for part in parts if part)


def _main_table(comparison: Comparison, found: Footnotes) -> str:
    main = comparison.metrics[0]
    columns = [(shots, main) for shots in comparison.shots]
    lines: list[list[str | Entry]] = [
        [markdown_label(row), *entries(comparison, found, row, columns, interval=True)] for row in comparison.rows
    ]
    return markdown_table([escape(main), *map(escape, comparison.shots)], lines)


def _notes(comparison: Comparison, found: Footnotes) -> str:
    marked = "Best is bold, second is underlined"
    items = [
        *(f"<sup>{notes.letter(i)}</sup> {escape(text)}" for i, text in enumerate(found.texts)),
        *map(escape, notes.differences(comparison)),
        escape(notes.shots_line(comparison)),
        escape(notes.tested_line(comparison)),
        escape(notes.excluded_line(comparison, reasons=False)),
        escape(notes.dropped_line(comparison)),
        escape(notes.reading(comparison)),
        f"{marked}; equal to the printed digits is equal." if any(v.rank for v in comparison.values.values()) else "",
    ]
    return _bullets([item for item in items if item])


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _metric_tables(comparison: Comparison, found: Footnotes) -> list[str]:
    """One table per label budget: metrics down, encoders across, so that nine metrics fit a page."""
    tables = []
    for shots in comparison.shots:
        columns = [(shots, metric) for metric in comparison.metrics]
        by_row = [entries(comparison, found, row, columns, interval=True) for row in comparison.rows]
        lines: list[list[str | Entry]] = [
            [escape(m), *(column[i] for column in by_row)] for i, m in enumerate(comparison.metrics)
        ]
        tables.append(markdown_table([escape(shots), *map(markdown_label, comparison.rows)], lines))
    return tables


def _curve(comparison: Comparison, made: dict[str, bytes]) -> str:
    return _picture(f"{comparison.slug}-few-shot", "few-shot curve", few_shot_curve(comparison), made)


def _picture(stem: str, words: str, files: dict[str, bytes], made: dict[str, bytes]) -> str:
    names = {kind: f"{safe_name(stem)}.{kind}" for kind in files}
    made.update({names[kind]: content for kind, content in files.items()})
    return f"![{words}]({names['svg']})\n\n[PNG]({names['png']})"


def _confusion(comparison: Comparison, store: CellStore | None, made: dict[str, bytes]) -> str:
    if store is None:
        return "Not shown: side files, which hold the counts, were not given."
    shots, panels, problems = _panels(comparison, store)
    lacking = [escape(f"{row}: no confusion matrix ({why})") for row, why in problems]
    if not panels:
        return _bullets(lacking)
    files = confusion_figure(comparison, shots, panels)
    text = f"At {escape(shots)}, summed over test recordings and averaged over seeds; rows are the true class."
    picture = _picture(f"{comparison.slug}-confusion", "confusion matrices", files, made)
    return "\n\n".join([picture, text, *([_bullets(lacking)] if lacking else [])])


def _panels(comparison: Comparison, store: CellStore) -> tuple[str, list[Panel], list[tuple[str, str]]]:
    """Confusion matrices at the largest of the budgets at which most encoders have results, and what is lacking."""

    def done(row: Row, shots: str) -> list[Cell]:
        return [cell for cell in comparison.cells_of(row, shots) if cell.status == "ok"]

    def worth(shots: str) -> tuple[int, tuple[int, int]]:
        return sum(bool(done(row, shots)) for row in comparison.rows), comparison.count("persons_train", shots) or (
            0,
            0,
        )

    shots = max(comparison.shots, key=worth)
    panels, problems = [], []
    for row in comparison.rows:
        cells = done(row, shots)
        counts = []
        for cell in cells:
            try:
                side = store.load_side(store.path(cell.spec, cell.key))
            except DataError:
                # Person-level files may be kept apart from results that are passed on.
                problems.append((row.name, f"side file of cell {cell.key[:12]} is not there"))
                break
            counts.append(side.confusion.sum(axis=0).astype(np.float64))
        if not cells:
            problems.append((row.name, f"no result at {shots}"))
        elif len(counts) == len(cells):
            panels.append(Panel(row, np.mean(counts, axis=0), len(cells)))
    return shots, panels, problems


def _methods(comparison: Comparison) -> str:
    task, head = comparison.spec["task"], comparison.spec["head"]
    settings = notes.short(head.get("settings", {}))
    split = comparison.spec["split"]
    lines = [
        f"Split: {comparison.split_words}, salt {split.get('salt', 'none')}; divided by person",
        f"Head: {head['id']} ({settings}), on training rows only",
        f"Seeds: {'; '.join(_seeds(comparison))}",
        f"Task: {comparison.task}, classes {', '.join(task['classes'])}, one {task.get('unit', 'unit')} = "
        f"{task.get('unit_s', '?')} s, alignment {task.get('alignment', 'not stated')}",
        methods.convergence(comparison),
    ]
    return (
        f"### How it was computed\n\n{_bullets([escape(line) for line in lines])}\n\n{methods.head_table(comparison)}"
    )


def _seeds(comparison: Comparison) -> list[str]:
    found = []
    for shots in comparison.shots:
        seeds = sorted({cell.spec["seed"] for row in comparison.rows for cell in comparison.cells_of(row, shots)})
        found.append(f"{shots}: {', '.join(map(str, seeds))}")
    return found


def _exclusions(comparison: Comparison) -> str:
    items = notes.exclusions(comparison)
    return "### Excluded recordings\n\n" + (_bullets([escape(item) for item in items]) if items else "None.")
