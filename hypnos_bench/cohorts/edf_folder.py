"""Any folder of EDF files with their sleep scoring beside them or inside them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hypnos_bench.cohorts.base import Cohort, CohortCard, CohortOptions, Labels, Recording
from hypnos_bench.cohorts.labels import CsvLabels, EdfPlusLabels, NsrrLabels
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
        "-nsrr.xml, .xml, -Hypnogram.edf, .csv, EDF+ annotations in the signal file."
    ),
)


class EdfFolder:
    """Opener of a plain folder; subfolders are searched."""

    @property
    def card(self) -> CohortCard:
        """The card."""
        return CARD

    def open(self, options: CohortOptions) -> Cohort:
        """List the recordings. Neither signals nor annotations are opened.

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
            files = scoring_files(path)
            recordings.append(_recording(stem, path, files, pattern.person(stem), root, options.mains_hz or 50.0))
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
    candidates = [edf.with_name(f"{name}{ending}") for ending in ("-nsrr.xml", ".xml") for name in (stem,)]
    candidates += [edf.with_name(f"{name}-Hypnogram.edf") for name in dict.fromkeys((stem, short))]
    sleep_edf = _SLEEP_EDF.fullmatch(stem)
    if sleep_edf is not None:
        candidates += sorted(edf.parent.glob(f"{sleep_edf[1]}*-Hypnogram.edf"))
    candidates.append(edf.with_name(f"{stem}.csv"))
    return [path for path in dict.fromkeys(candidates) if path.is_file()]


def _recording(stem: str, path: Path, files: list[Path], person: str, root: Path, mains_hz: float) -> Recording:
    from hypnos_bench.signals.edf import EdfFile

    signals = EdfFile(path)
    return Recording(
        cohort=CARD.id,
        id=stem,
        person=person,
        signals=signals,
        labels=_labels(stem, path, files, root),
        montage=LazyMontage(signals, {}, aliases=True),
        mains_hz=mains_hz,
    )


def _labels(stem: str, edf: Path, files: list[Path], root: Path) -> Labels:
    if not files:
        looked_for = f"; no {stem}-nsrr.xml, {stem}.xml, {stem}-Hypnogram.edf or {stem}.csv beside it either"
        return EdfPlusLabels(stem, edf, missing=looked_for)
    chosen = files[0]
    if chosen.suffix == ".xml":
        return NsrrLabels(stem, chosen, below(root, chosen))
    if chosen.suffix == ".csv":
        return CsvLabels(stem, chosen)
    return EdfPlusLabels(stem, chosen)


SOURCE = EdfFolder()
