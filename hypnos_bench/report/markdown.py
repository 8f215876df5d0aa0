"""The report: one Markdown file per task and cohort, with tables, figures, methods and provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from hypnos_bench.errors import DataError
from hypnos_bench.report import methods, notes, terms
from hypnos_bench.report.across import across_pages
from hypnos_bench.report.comparison import Comparison, comparisons, printed
from hypnos_bench.report.differences import differences
from hypnos_bench.report.figures import few_shot_curve
from hypnos_bench.report.leak import Leak, leaks
from hypnos_bench.report.notes import Footnotes, footnotes
from hypnos_bench.report.sections import bullets, kind_section, picture
from hypnos_bench.report.tables import Entry, entries, escape, markdown_label, markdown_table
from hypnos_bench.significance import SideFiles
from hypnos_bench.store.atomic import atomic_write, safe_name
from hypnos_bench.store.cells import Cell, CellStore

LISTED = 100
"""Excluded recordings that a page lists one by one; beyond, they are counted by reason."""


def write_report(cells: Iterable[Cell], out_dir: Path, store: CellStore | SideFiles | None = None) -> list[Path]:
    """Write ``<task>-<cohort>.md`` per task and cohort, and beside it its figures (SVG and PNG) and tables (CSV).

    The same cells in any order give the same bytes. Nothing is fitted; what pages show of single recordings, and the
    tests over persons, come from side files. Where cells of one task cover several cohorts and encoders, there is a
    page across them too.

    Parameters
    ----------
    cells : iterable of Cell
    out_dir : Path
        Made when missing.
    store : CellStore or SideFiles, optional
        Where the cells' side files lie, or those that were read already. Without it pages have neither tests nor
        pictures of predictions, and say so; what needs a damaged file is left out and named likewise, and
        ``SideFiles.problems`` tells of it.

    Returns
    -------
    list of Path
        The Markdown files, then figures and tables.

    Raises
    ------
    DataError
        When the disk refuses.
    IntegrityError
        When one key carries two results.
    """
    texts: dict[str, list[str]] = {}
    members: dict[str, list[Comparison]] = {}
    others: dict[str, bytes] = {}
    sides = SideFiles(store) if isinstance(store, CellStore) else store
    tables = comparisons(cells)
    for comparison in tables:
        name = f"{safe_name(f'{comparison.task}-{comparison.cohort}')}.md"
        if name not in texts:
            texts[name] = [_heading(comparison)]
        texts[name].append(_section(comparison, sides, others))
        members.setdefault(name, []).append(comparison)
    for name, several in members.items():
        texts[name] += [_leak(leak) for leak in leaks(several)]
    pages = {name: ("\n\n".join(parts) + "\n").encode() for name, parts in texts.items()}
    return _write(pages | across_pages(tables, others), others, out_dir)


def write_across(cells: Iterable[Cell], out_dir: Path) -> list[Path]:
    """Write ``<task>-across-cohorts.md`` where cells of one task and head cover three cohorts and two rows, else none.

    Part of :func:`write_report`; by itself for whoever writes the pages of single cohorts one by one. Parameters,
    returns and raises as there.
    """
    others: dict[str, bytes] = {}
    return _write(across_pages(comparisons(cells), others), others, out_dir)


def _write(pages: Mapping[str, bytes], others: Mapping[str, bytes], out_dir: Path) -> list[Path]:
    # Pages last: one that links to a picture finds it there.
    for name, content in [*others.items(), *pages.items()]:
        _save(out_dir / name, content)
    return [out_dir / name for name in (*pages, *others)]


def _save(path: Path, content: bytes) -> None:
    try:
        atomic_write(path, content)
    except DataError as error:
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__ or error
        raise DataError(f"{path}: cannot be written ({reason}); make room or choose another --reports DIR") from error


def _heading(comparison: Comparison) -> str:
    mark = " (*simulated*)" if comparison.simulated else ""
    return f"# {escape(comparison.task)} on {escape(comparison.cohort)}{mark}"


def _section(comparison: Comparison, sides: SideFiles | None, made: dict[str, bytes]) -> str:
    found = footnotes(comparison, shown=None)
    parts = [
        f"## {escape(comparison.title)}",
        *(f"> **{escape(line)}**" for line in notes.warnings(comparison)),
        _main_table(comparison, found),
        _notes(comparison, found),
        _curve(comparison, made),
        differences(comparison, sides, made),
        "### All metrics",
        *_metric_tables(comparison, found),
        methods.per_recording(comparison),
        bullets([escape(line) for line in methods.definitions(comparison)]),
        kind_section(comparison, sides, made),
        _methods(comparison),
        _exclusions(comparison),
        "### Provenance\n\n" + methods.encoder_table(comparison),
        bullets(methods.provenance(comparison)),
    ]
    return "\n\n".join(part for part in parts if part)


def _leak(leak: Leak) -> str:
    head = ["row", "shots", escape(leak.leaky.split), escape(leak.honest.split), "difference"]
    lines = [
        [markdown_label(row), escape(shots), *map(printed, (a.mean, b.mean, a.mean - b.mean))]
        for row, shots, a, b in leak.pairs
    ]
    return f"## What the leak adds\n\n{escape(leak.words)}.\n\n{markdown_table(head, lines, keys=2)}"


def _main_table(comparison: Comparison, found: Footnotes) -> str:
    main = comparison.metrics[0]
    columns = [(shots, main) for shots in comparison.shots]
    seen = terms.has_exposure(comparison)
    lines: list[list[str | Entry]] = [
        [
            markdown_label(row),
            *entries(comparison, found, row, columns, interval=True),
            *([escape(terms.exposure(comparison, row))] if seen else []),
        ]
        for row in comparison.rows
    ]
    return markdown_table([*map(escape, (main, *comparison.shots)), *(["exposure"] if seen else [])], lines)


def _notes(comparison: Comparison, found: Footnotes) -> str:
    marked = "Best is bold, second is underlined"
    items = [
        *(f"<sup>{notes.letter(i)}</sup> {escape(text)}" for i, text in enumerate(found.texts)),
        *map(escape, notes.differences(comparison)),
        *map(escape, notes.inputs_lines(comparison)),
        escape(notes.label_line(comparison)),
        escape(notes.shots_line(comparison)),
        escape(notes.tested_line(comparison)),
        *map(escape, terms.lines(comparison)),
        escape(notes.excluded_line(comparison, reasons=False)),
        escape(notes.dropped_line(comparison)),
        escape(notes.duplicates_line(comparison)),
        escape(notes.reading(comparison)),
        f"{marked}; equal to the printed digits is equal." if any(v.rank for v in comparison.values.values()) else "",
    ]
    return bullets([item for item in items if item])


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
    return picture(f"{comparison.slug}-few-shot", "few-shot curve", few_shot_curve(comparison), made)


def _methods(comparison: Comparison) -> str:
    head = comparison.spec["head"]
    settings = notes.short(head.get("settings", {}))
    split = comparison.spec["split"]
    dealt = f"digest of the lists {split['lists'][:12]}" if split.get("lists") else f"salt {split.get('salt', 'none')}"
    lines = [
        f"Split: {comparison.split_words}, {dealt}; "
        f"{'persons are on both sides' if comparison.leaky else 'divided by person'}",
        f"Head: {head['id']} ({settings}), on training rows only",
        f"Seeds: {'; '.join(_seeds(comparison))}",
        methods.task_line(comparison),
        *terms.alignment_lines(comparison),
        methods.convergence(comparison),
        *methods.not_fitted(comparison),
    ]
    return f"### How it was computed\n\n{bullets([escape(line) for line in lines])}\n\n{methods.head_table(comparison)}"


def _seeds(comparison: Comparison) -> list[str]:
    found = []
    for shots in comparison.shots:
        seeds = sorted({cell.spec["seed"] for row in comparison.rows for cell in comparison.cells_of(row, shots)})
        found.append(f"{shots}: {', '.join(map(str, seeds))}")
    return found


def _exclusions(comparison: Comparison) -> str:
    head = "### Excluded recordings"
    items = notes.exclusions(comparison)
    if not items:
        return f"{head}\n\nNone."
    listed = bullets([escape(item) for item in items[:LISTED]])
    if len(items) <= LISTED:
        return f"{head}\n\n{listed}"
    counts = Counter(item.split(": ", 1)[1] for item in items)
    by_reason = sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    summary = bullets([escape(f"{count:,} x {reason}") for reason, count in by_reason[:LISTED]])
    return f"{head}\n\nBy reason:\n\n{summary}\n\nThe first {LISTED} of {len(items):,}:\n\n{listed}"
