"""Single fields of an EDF header: text, numbers, date and time, with a line for each that is not as it should be.

Sources: Kemp et al. 1992 (EDF), Kemp and Olivan 2003 (EDF+): printable ASCII, left-justified, filled up with blanks,
a dot as decimal point.
"""

from __future__ import annotations

import math
import re
from datetime import date, time

_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?")
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", re.ASCII)
_LONGEST_LIST = 3  # fields named in one line


class FieldReader:
    """Reads the fields of one header and collects what had to be repaired.

    What concerns a single field gets a line of its own. Slips that writers make in every field, NUL bytes and leading
    blanks, are counted and share a line.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._nul: dict[str, None] = {}
        self._indented: dict[str, None] = {}

    @property
    def repairs(self) -> tuple[str, ...]:
        """One line per thing that was not as the standard wants it, and how it was read."""
        lines = list(self._lines)
        if self._nul:
            lines.append(f"{_listed(list(self._nul))} filled with NUL bytes, not blanks: read up to the first NUL")
        if self._indented:
            lines.append(f"{_listed(list(self._indented))} not left-justified: leading blanks are left out")
        return tuple(lines)

    def note(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)

    def raw(self, field: bytes, what: str) -> bytes:
        """The field without what fills it up: blanks, and everything from the first NUL byte on."""
        stripped = field.lstrip(b"\x00 ")
        if b"\x00" in field:
            self._nul[what] = None
        elif stripped and len(stripped) < len(field):
            self._indented[what] = None
        return stripped.partition(b"\x00")[0].rstrip(b" ")

    def ascii(self, field: bytes, what: str) -> str:
        """A field that is no free text: dates, numbers, marks. Other bytes than ASCII stay visible as Latin-1."""
        return self.raw(field, what).decode("latin-1")

    def text(self, field: bytes, what: str) -> str:
        """Free text: UTF-8 where the bytes are that, Latin-1 elsewhere. What cannot be printed is blank or ``?``."""
        raw = self.raw(field, what)
        if raw.isascii():
            text = raw.decode("ascii")
        else:
            try:
                text, encoding = raw.decode("utf-8"), "UTF-8"
            except UnicodeDecodeError:
                text, encoding = raw.decode("latin-1"), "Latin-1"
            text = text.removeprefix("\ufeff")  # a byte-order mark is no part of a name
            self.note(f"the {what} is not ASCII: read as {encoding} {_printable(text)!r}")
        if not text.isprintable():
            self.note(f"the {what} holds characters that cannot be printed: read as {_printable(text)!r}")
        return _printable(text)

    def number(self, field: bytes, what: str) -> float | None:
        """Decimal field, ``None`` when it is none. A decimal comma is read as a dot.

        Whole part and fraction are summed, as EDFlib does it, so that values agree to the last bit.
        """
        text = self.ascii(field, what)
        value = _decimal(text)
        if value is None and text.count(",") == 1:
            value = _decimal(text.replace(",", "."))
            if value is not None:
                self.note(f"the {what} is {text!r}: the comma is read as a decimal point")
        return value

    def whole(self, field: bytes, what: str) -> int | None:
        """Whole number, ``None`` when it is none. A fraction of zero is left out."""
        text = self.ascii(field, what)
        if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
            return int(text)
        match = re.fullmatch(r"([+-]?\d+)[.,]0*", text, re.ASCII)
        if match is None:
            return None
        self.note(f"the {what} is {text!r}: read as {int(match[1])}")
        return int(match[1])

    def start_date(self, field: bytes) -> None:
        """Check the start date. It is not kept: cohorts blank or shift it."""
        text = self.ascii(field, "start date")
        match = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d\d)", text, re.ASCII)
        try:
            if match is not None:
                date(2000 + int(match[3]), int(match[2]), int(match[1]))
                return
        except ValueError:
            pass  # the 31st of February and the like: said below, as for any other text
        self.note(f"the start date is {_printable(text)!r}, not a date (dd.mm.yy): left out")

    def start_time(self, field: bytes) -> time | None:
        """Time of day of the header, ``None`` when it is none. Colons are read as dots."""
        text = self.ascii(field, "start time")
        match = re.fullmatch(r"(\d\d)([.:])(\d\d)([.:])(\d\d)", text, re.ASCII)
        if match is None or int(match[1]) > 23 or int(match[3]) > 59 or int(match[5]) > 59:
            self.note(f"the start time is {_printable(text)!r}, not a time of day (hh.mm.ss): the clock is unknown")
            return None
        if ":" in text:
            self.note(f"the start time is {text!r}, with colons instead of dots")
        return time(int(match[1]), int(match[3]), int(match[5]))


def _decimal(text: str) -> float | None:
    match = _NUMBER.fullmatch(text)
    if match and text.isascii() and (match[2] or match[3]):
        value = int(match[2] or 0) + int(match[3] or 0) / 10.0 ** len(match[3] or "")
        return -value if match[1] == "-" else value
    if _EXPONENT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return None


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text).strip()


def _listed(fields: list[str]) -> str:
    """The first few names, and how many there are."""
    if len(fields) == 1:
        return f"the {fields[0]} is"
    named = ", ".join(fields[:_LONGEST_LIST])
    return f"{len(fields)} header fields ({named}{', ...' if len(fields) > _LONGEST_LIST else ''}) are"
