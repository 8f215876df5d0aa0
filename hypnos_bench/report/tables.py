"""Tables of scores as terminal text and as Markdown."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hypnos_bench.report import notes, terms, verdicts
from hypnos_bench.report.comparison import Comparison, Row, Value, comparisons, printed
from hypnos_bench.report.leak import leak_lines
from hypnos_bench.report.notes import Footnotes, footnotes
from hypnos_bench.significance import SideFiles
from hypnos_bench.store.cells import Cell, CellStore

MISSING = "–"
_BOLD, _UNDERLINE, _RESET = "\x1b[1m", "\x1b[4m", "\x1b[0m"
_GAP = "  "


@dataclass(frozen=True)
class Entry:
    """One table entry: the number that may be marked, what follows it, its place and its footnote letter."""

    number: str
    rest: str = ""
    rank: int = 0
    letter: str = ""


def terminal_tables(
    cells: Iterable[Cell], *, color: bool, width: int, store: CellStore | SideFiles | None = None
) -> str:
    """All tables of `cells` as text.

    Parameters
    ----------
    cells : iterable of Cell
        In any order.
    color : bool
        True for a terminal: best bold, second underlined. Otherwise ``*`` and ``+`` mark them.
    width : int
        Columns to keep within; a wide table continues below itself. An entry is never cut.
    store : CellStore or SideFiles, optional
        Where the cells' side files lie, or those that were read already: below a table of several rows stands then
        which of them is better, by paired tests.

    Raises
    ------
    IntegrityError
        When one key carries two results. Tests that need a damaged side file are left out, which the table says.
    """
    sides = SideFiles(store) if isinstance(store, CellStore) else store
    tables = comparisons(cells)
    parts = [_terminal(comparison, color, width, sides) for comparison in tables]
    return "\n\n".join([*parts, *(["\n".join(lines)] if (lines := leak_lines(tables)) else [])])


def entry(value: Value | None, letter: str, interval: bool) -> Entry:
    """Entry for a value: ``0.712 ± 0.021 [0.650, 0.770]``, without the parts that there are none of."""
    if value is None or math.isnan(value.mean):
        return Entry(MISSING, letter=letter)
    rest = "" if math.isnan(value.sd) else f" ± {printed(value.sd)}"
    if interval and not (math.isnan(value.low) or math.isnan(value.high)):
        rest += f" [{printed(value.low)}, {printed(value.high)}]"
    return Entry(printed(value.mean), rest, value.rank, letter)


def entries(
    comparison: Comparison, notes_: Footnotes, row: Row, columns: Sequence[tuple[str, str]], interval: bool
) -> list[Entry]:
    """Entries of one row for (shots, metric) columns."""
    keys = [(row.id, shots, metric) for shots, metric in columns]
    return [entry(comparison.values.get(key), notes_.letters.get(key, ""), interval) for key in keys]


def label(row: Row) -> str:
    """Row name with its marks, which cannot be switched off."""
    return f"{row.name} ({', '.join(row.marks)})" if row.marks else row.name


def _terminal(comparison: Comparison, color: bool, width: int, sides: SideFiles | None) -> str:
    found = footnotes(comparison)
    main, others = comparison.metrics[0], comparison.metrics[1:]
    columns = [(shots, main) for shots in comparison.shots]
    seen = terms.has_exposure(comparison)
    lines: list[list[str | Entry]] = [
        [
            label(row),
            *entries(comparison, found, row, columns, interval=True),
            *([terms.exposure(comparison, row)] if seen else []),
        ]
        for row in comparison.rows
    ]
    head = [main, *comparison.shots, *(["exposure"] if seen else [])]
    blocks = [comparison.title, "", *_grid(head, lines, 1, color, width)]
    if others:
        pairs = [(shots, row) for shots in comparison.shots for row in comparison.rows]
        rest: list[list[str | Entry]] = [
            [shots, label(row), *entries(comparison, found, row, [(shots, m) for m in others], interval=False)]
            for shots, row in pairs
        ]
        blocks += ["", *_grid(["shots", "encoder", *others], rest, 2, color, width)]
    blocks.append("")
    for line in _footer(comparison, found, color, sides):
        blocks += textwrap.wrap(
            line, max(width, 20), subsequent_indent=_GAP, break_long_words=False, break_on_hyphens=False
        )
    return "\n".join(blocks)


def _footer(comparison: Comparison, found: Footnotes, color: bool, sides: SideFiles | None) -> list[str]:
    legend = "bold: best, underlined: second" if color else "*: best, +: second"
    ranked = any(value.rank for value in comparison.values.values())
    lines = [
        *(f"! {line}" for line in notes.warnings(comparison)),
        *found.lines(),
        *notes.differences(comparison),
        *notes.inputs_lines(comparison),
        notes.label_line(comparison),
        notes.shots_line(comparison),
        notes.tested_line(comparison),
        *terms.lines(comparison),
        notes.excluded_line(comparison),
        notes.dropped_line(comparison),
        notes.duplicates_line(comparison),
        notes.reading(comparison, compact=True) + (f"; {legend}" if ranked else ""),
        *_verdicts(comparison, sides),
        f"{len(comparison.cells)} cell{'' if len(comparison.cells) == 1 else 's'}, hash {comparison.hash}",
    ]
    return [line for line in lines if line]


def _verdicts(comparison: Comparison, sides: SideFiles | None) -> list[str]:
    """Who is better, a line per label budget; nothing without side files or with one row."""
    if sides is None or len(comparison.rows) < 2:
        return []
    tested = verdicts.tests_of(comparison, sides)
    return [verdicts.head(comparison, tested), *(f"- {line}" for line in verdicts.lines(tested))]


def _grid(head: Sequence[str], lines: Sequence[Sequence[str | Entry]], keys: int, color: bool, width: int) -> list[str]:
    """Aligned columns; the first `keys` columns are repeated when the rest does not fit beside them."""
    columns = [[head[i], *(line[i] for line in lines)] for i in range(len(head))]
    texts = [_aligned(column, color) for column in columns]
    sizes = [display_width(_plain(text[0])) for text in texts]
    found: list[str] = []
    start = keys
    while start < len(head):
        stop = start + 1
        used = sum(sizes[:keys]) + len(_GAP) * keys + sizes[start]
        while stop < len(head) and used + len(_GAP) + sizes[stop] <= width:
            used += len(_GAP) + sizes[stop]
            stop += 1
        shown = [*range(keys), *range(start, stop)]
        found += [""] if found else []
        found += [_GAP.join(texts[i][k] for i in shown).rstrip() for k in range(len(lines) + 1)]
        start = stop
    return found


def _aligned(column: Sequence[str | Entry], color: bool) -> list[str]:
    """Every line of a column at the same display width: numbers, the rest and letters each below one another."""
    found = [item for item in column if isinstance(item, Entry)]
    numbers = max((len(e.number) for e in found), default=0)
    marks = 0 if color or not any(e.rank for e in found) else 1
    rests = max((len(e.rest) for e in found), default=0)
    texts = [_entry_text(i, numbers, marks, rests, color) if isinstance(i, Entry) else i for i in column]
    size = max(display_width(_plain(text)) for text in texts)
    return [text + " " * (size - display_width(_plain(text))) for text in texts]


def _entry_text(item: Entry, numbers: int, marks: int, rests: int, color: bool) -> str:
    style = {1: _BOLD, 2: _UNDERLINE}.get(item.rank, "") if color else ""
    number = " " * (numbers - len(item.number)) + (f"{style}{item.number}{_RESET}" if style else item.number)
    mark = {1: "*", 2: "+"}.get(item.rank, "").ljust(marks) if marks else ""
    foot = f" ({item.letter})" if item.letter else ""
    # The letter follows the widest entry, so that numbers stay below one another.
    return f"{number}{mark}{item.rest.ljust(rests) if foot else item.rest}{foot}"


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


def display_width(text: str) -> int:
    """Terminal columns of `text`: wide characters (an id may hold some) take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str | Entry]], keys: int = 1) -> str:
    """Markdown table: best **bold**, second <u>underlined</u>, footnote letters as superscripts.

    Texts are Markdown already: escape what comes from elsewhere.
    """
    rows = [list(head), ["---"] * keys + ["---:"] * (len(head) - keys)]
    rows += [[_markdown_entry(item) if isinstance(item, Entry) else item for item in line] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def markdown_label(row: Row) -> str:
    """Row name with its marks in italics."""
    return escape(row.name) + "".join(f" *{escape(mark)}*" for mark in row.marks)


def escape(text: str) -> str:
    """Text that means itself in Markdown, tables included."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def _markdown_entry(item: Entry) -> str:
    number = {1: f"**{item.number}**", 2: f"<u>{item.number}</u>"}.get(item.rank, item.number)
    return f"{number}{item.rest}" + (f" <sup>{item.letter}</sup>" if item.letter else "")
