"""Any folder of EDF files with their sleep scoring beside them or inside them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hypnos_bench.cohorts.base import Cohort, CohortCard, CohortOptions, Exclusion, Recording
from hypnos_bench.cohorts.labels import AnnotationFiles, FileLabels
from hypnos_bench.cohorts.montage import LazyMontage
from hypnos_bench.cohorts.scan import (
    PersonPattern,
    below,
    by_id,
    nothing_found,
    require_root,
    split_repeated,
    walk_files,
)
from hypnos_bench.errors import RecordingError
from hypnos_bench.signals.edf import EdfFile
from hypnos_bench.spec import SplitSpec

EXAMPLE = "night1.edf with night1-nsrr.xml, night1.xml, night1-Hypnogram.edf or night1.csv, or EDF+ with stages inside"

_HYPNOGRAM = "-hypnogram.edf"
_SLEEP_EDF = re.compile(r"((?:SC4|ST7)\d{3})[A-Z]\d-PSG")
"""Sleep-EDF: the hypnogram shares the first six characters; the eighth is the scorer's letter."""

CARD = CohortCard(
    id="edf-folder",
    title="Folder of EDF files",
    labels=("stage", "events"),
    split=SplitSpec("cv5"),
    source="files given by the user",
    note=(
        "Channels are found by the general alias table; mains are taken as 50 Hz unless told otherwise (--mains 60). "
        "Without a person pattern every "
        "recording counts as its own person. Scoring is looked for in this order, and the first found is used: "
        "-nsrr.xml, .xml, -profusion.xml, -Hypnogram.edf, .annot, .eannot, .csv, EDF+ annotations in the signal file. "
        "Files that say they were made by `hypnos-bench synthesize` are left out."
    ),
)


class EdfFolder:
    """Opener of a plain folder; subfolders are searched."""

    @property
    def card(self) -> CohortCard:
        """The card."""
        return CARD

    def open(self, options: CohortOptions) -> Cohort:
        """List the recordings. Of the signals only the first bytes are read, annotations are not opened.

        Raises
        ------
        UsageError
            For no root, or a person pattern that does not fit.
        DataError
            When the folder is missing or holds no EDF file.
        """
        pattern = PersonPattern(options.person_pattern)
        root = require_root(options, CARD.id, EXAMPLE)
        edfs = ((p.stem, p) for p in walk_files(root, ".edf") if not p.name.casefold().endswith(_HYPNOGRAM))
        found, excluded = split_repeated(edfs, root)
        if not found:
            raise nothing_found(root, CARD.id, "*.edf in it and its subfolders", EXAMPLE, excluded)
        recordings, several = [], []
        for stem, path in found.items():
            if _is_synthetic(path):
                excluded.append(Exclusion(stem, f"{below(root, path)}: made by hypnos-bench synthesize, not recorded"))
                continue
            files = scoring_files(path)
            recordings.append(_recording(stem, path, files, pattern.person(stem), options.mains_hz or 50.0))
            if len(files) > 1:
                several.append(f"{stem} (used {files[0].name}, not {', '.join(f.name for f in files[1:])})")
        card = replace(CARD, persons_assumed=options.person_pattern is None)
        if several:
            card = replace(card, note=f"{CARD.note} Several scoring files for: {'; '.join(sorted(several))}.")
        return Cohort(card, by_id(recordings), tuple(sorted(excluded, key=lambda e: e.recording)))


def scoring_files(edf: Path) -> list[Path]:
    """Scoring files of one EDF that exist beside it, in order of precedence."""
    stem = edf.stem
    short = re.sub("-PSG$", "", stem)
    candidates = [edf.with_name(f"{stem}{ending}") for ending in ("-nsrr.xml", ".xml", "-profusion.xml")]
    candidates += [edf.with_name(f"{name}-Hypnogram.edf") for name in dict.fromkeys((stem, short))]
    sleep_edf = _SLEEP_EDF.fullmatch(stem)
    if sleep_edf is not None:
        candidates += sorted(edf.parent.glob(f"{sleep_edf[1]}*-Hypnogram.edf"))
    candidates += [edf.with_name(f"{stem}{ending}") for ending in (".annot", ".eannot", ".csv")]
    return [path for path in dict.fromkeys(candidates) if path.is_file()]


def _is_synthetic(path: Path) -> bool:
    """Whether a file says that it was generated. One that cannot be read is left to whoever reads it to say why."""
    try:
        return EdfFile(path).is_synthetic
    except RecordingError:
        return False


def _recording(stem: str, path: Path, files: list[Path], person: str, mains_hz: float) -> Recording:
    signals = EdfFile(path)
    return Recording(
        cohort=CARD.id,
        id=stem,
        person=person,
        signals=signals,
        labels=_labels(stem, signals, files),
        montage=LazyMontage(signals, {}, aliases=True),
        mains_hz=mains_hz,
    )


def _labels(stem: str, signals: EdfFile, files: list[Path]) -> FileLabels:
    if files:
        return FileLabels(stem, signals, AnnotationFiles(_kind(files[0]), files[0]))
    looked_for = f"; no {stem}-nsrr.xml, {stem}.xml, {stem}-Hypnogram.edf or {stem}.csv beside it either"
    return FileLabels(stem, signals, AnnotationFiles("edf-plus", signals.path), looked_for)


def _kind(path: Path) -> str:
    """Annotation kind by the file's name."""
    by_ending = {
        "-profusion.xml": "profusion-xml",
        ".xml": "nsrr-xml",
        "-hypnogram.edf": "edf-plus",
        ".annot": "luna-annot",
        ".eannot": "luna-eannot",
        ".csv": "csv-hypnogram",
    }
    return next(kind for ending, kind in by_ending.items() if path.name.casefold().endswith(ending))


SOURCE = EdfFolder()
