"""Annotation readers by id, how their files are loaded, and which options a card may give them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hypnos_bench.cohorts.base import Scoring
from hypnos_bench.cohorts.card import Annotation
from hypnos_bench.cohorts.toml_build import check_value, refuse_unknown
from hypnos_bench.errors import UsageError
from hypnos_bench.registry import did_you_mean

Reader = Callable[..., Scoring]

Loading = Literal["bytes", "edf-plus", "dreem"]
"""What a reader's main file is given as: its bytes, the annotations of an EDF+ file, or the stages of a DOD file."""

_ROOM = "hypnos_bench.cohorts.annotations"


@dataclass(frozen=True)
class Kind:
    """One annotation format.

    Parameters
    ----------
    target : str
        ``module:function`` of its reader, see `reader`.
    labels : tuple of str
        Label kinds that it holds.
    loading : {"bytes", "edf-plus", "dreem"}
    """

    target: str
    labels: tuple[str, ...]
    loading: Loading = "bytes"


SLEEP = ("stage", "events")

KINDS: Mapping[str, Kind] = {
    "nsrr-xml": Kind("nsrr_xml:read_nsrr_xml", SLEEP),
    "profusion-xml": Kind("profusion_xml:read_profusion_xml", SLEEP),
    "edf-plus": Kind("edf_plus:read_edf_plus", SLEEP, "edf-plus"),
    "luna-annot": Kind("luna:read_luna_annot", SLEEP),
    "luna-eannot": Kind("luna:read_luna_eannot", ("stage",)),
    "csv-hypnogram": Kind("csv_hypnogram:read_csv_hypnogram", ("stage",)),
    "wsc-stg": Kind("wsc:read_wsc_stg", ("stage",)),
    "wsc-allscore": Kind("wsc:read_wsc_allscore", SLEEP),
    "stages-csv": Kind("stages_csv:read_stages_csv", SLEEP),
    "hsp-csv": Kind("hsp_csv:read_hsp_csv", SLEEP),
    "nchsdb-tsv": Kind("nchsdb_tsv:read_nchsdb_tsv", SLEEP),
    "noxturnal": Kind("noxturnal:read_noxturnal", SLEEP),
    "remlogic": Kind("remlogic:read_remlogic", SLEEP),
    "ucddb": Kind("ucddb:read_ucddb", SLEEP),
    "stage-list": Kind("stage_list:read_stage_list", ("stage",)),
    "dreem": Kind("dreem:read_dreem_hypnogram", ("stage",), "dreem"),
    "rhythm": Kind("rhythm:read_rhythm", ("rhythm",)),
    "cpsc2021": Kind("rhythm:read_cpsc2021", ("rhythm", "record")),
    "slpdb-st": Kind("wfdb_sleep:read_slpdb_st", SLEEP),
    "cinc2018-arousal": Kind("cinc2018:read_cinc2018_arousal", SLEEP),
    "apnea-minutes": Kind("apnea_minutes:read_apnea_minutes", ("minutes",)),
}
"""Every format; a card's ``[[annotations]]`` names one of these."""


def kind_of(name: str, where: str = "annotation") -> Kind:
    """The format of this id. Raises ``UsageError`` when there is none."""
    if name not in KINDS:
        raise UsageError(f"{where}: unknown kind {name!r}.{did_you_mean(name, KINDS)} Known: {', '.join(KINDS)}")
    return KINDS[name]


def reader(kind: Kind) -> Reader:
    """Import a format's reader: ``(files, facts, words, *, options) -> Scoring``."""
    module, _, name = kind.target.partition(":")
    function: Reader = getattr(importlib.import_module(f"{_ROOM}.{module}"), name)
    return function


def check_annotation(annotation: Annotation, where: str) -> None:
    """Refuse a card's annotation whose kind, options or meanings of words do not exist.

    Words of sleep have fixed meanings; codes of rhythms, minutes and records are the formats' own.

    Raises
    ------
    UsageError
    """
    kind = kind_of(annotation.kind, where)
    if not annotation.options and not annotation.words:
        return
    from hypnos_bench.cohorts.annotations.words import Words

    try:
        Words(overrides=annotation.words if set(kind.labels) & set(SLEEP) else {})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    read = reader(kind)
    parameters = inspect.signature(read).parameters.values()
    hints: dict[str, Any] = inspect.get_annotations(read, eval_str=True)
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    refuse_unknown(annotation.options, known, f"{where} options")
    for name, value in annotation.options.items():
        check_value(value, hints[name], f"{where} options", name)
