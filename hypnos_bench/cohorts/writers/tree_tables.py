"""Tables of fake cohort trees: two versions of each, sex in a cohort's own coding, and a workbook."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from hypnos_bench.cohorts.writers.csv_tables import write_csv
from hypnos_bench.cohorts.writers.synthetic import Written

AHIS = ("ahi_a0h3", "ahi_a0h3a", "ahi_a0h4", "ahi_a0h4a")
"""Names of the apnea-hypopnea indices that most NSRR tables and this house share."""


@dataclass(frozen=True)
class Table:
    """A CSV table in two versions: the older one holds wrong numbers, so that reading it would show.

    Parameters
    ----------
    path : str
        Template with ``{version}``.
    version, older : str
    row : callable
        Cells of one recording; numbers that differ in the older version are float.
    visits : tuple of str, optional
        Visits that it is about.
    once : bool
        One row per person, of the first recording.
    encoding : str
    """

    path: str
    version: str
    older: str
    row: Callable[[Written], Mapping[str, object]]
    visits: tuple[str, ...] | None = None
    once: bool = False
    encoding: str = "utf-8"

    def write(self, base: Path, written: Sequence[Written]) -> None:
        """Write both versions; none when nobody had such a visit."""
        about = [w for w in written if self.visits is None or w.visit in self.visits]
        if self.once:
            about = list({w.person: w for w in reversed(about)}.values())[::-1]
        cells = [dict(self.row(w)) for w in about]
        wrong = [{name: 1 if isinstance(cell, float) else cell for name, cell in row.items()} for row in cells]
        for version, lines in ((self.version, cells), (self.older, wrong)) if cells else ():
            write_csv(base / self.path.format(version=version), lines, encoding=self.encoding)


def harmonised(w: Written) -> dict[str, object]:
    """Columns that the harmonised tables of all NSRR cohorts share."""
    c = w.covariates
    return {
        "nsrr_age": c["age"],
        "nsrr_age_gt89": "yes" if c["age"] > 89 else "no",
        "nsrr_sex": c["sex"],
        "nsrr_race": "white",
        "nsrr_bmi": c["bmi"],
        "nsrr_ahi_hp3u": c["ahi_a0h3"],
        "nsrr_ahi_hp3r_aasm15": c["ahi_a0h3a"],
        "nsrr_ahi_hp4u_aasm15": c["ahi_a0h4"],
        "nsrr_ahi_hp4r": c["ahi_a0h4a"],
        "nsrr_ttldursp_f1": 371.0,
        "nsrr_phrnumar_f1": 20.5,
        "nsrr_flag_spsw": "full scoring",
    }


def ahis(w: Written) -> dict[str, object]:
    """The four indices under the names that most NSRR tables and this house share."""
    return {name: w.covariates[name] for name in AHIS}


def coded(w: Written, *, male: object, female: object) -> object:
    """Sex in a cohort's own coding."""
    return male if w.covariates["sex"] == "male" else female


# The least that makes an .xlsx: what lies where, one sheet, cells as text.
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_WORKBOOK = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType="'
    'application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="'
    f'{_SHEET_TYPE}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="'
    f'{_SHEET_TYPE}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


def write_xlsx(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows under a header line as the only sheet of a workbook; equal rows give equal bytes."""
    names = list(rows[0])
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    cells = ("".join(f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>' for cell in line) for line in lines)
    sheet = "".join(f"<row>{line}</row>" for line in cells)
    parts = {
        **_WORKBOOK,
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{sheet}</sheetData></worksheet>',
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name), f'<?xml version="1.0" encoding="UTF-8"?>{text}')
