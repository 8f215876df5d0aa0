"""From an id in somebody's list to cohort, recording and person, by the rules of the cohorts' own cards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from hypnos_bench.cohorts.card import CohortLayout
from hypnos_bench.cohorts.card_toml import compiled, load_layout
from hypnos_bench.cohorts.registry import CARD_IDS

NAMED = (
    *("shhs", "mros", "mesa", "wsc", "chat", "sof", "cfs", "ccshs", "apples", "abc", "homepap", "hsp", "mnc"),
    *("sleep-edf", "physionet-2018", "ucddb", "stages", "nchsdb"),
)
"""Cohorts whose ids tell the cohort; of several the first counts. NCHSDB's, two bare numbers, come last.

Ids of other cohorts (``a01``, ``100``) could be of many: whoever has a list of them says the cohort.
"""

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "hsp": ("_eeg",),
    "mass": (" PSG",),
    "mnc": ("-nsrr",),
    "ptb-xl": ("_hr",),
    "sleep-edf": ("-PSG", "E0-PSG"),
    "wsc": ("-nsrr",),
}
"""What file names end in, beyond the suffix, and lists may leave off."""

FOLDERS: Mapping[str, str] = {"mnc": "ssc/"}
"""A folder that a cohort's rule asks for, for bare names of it; which of several does not change the person."""

OWN_IDS: Mapping[str, re.Pattern[str]] = {"isruc": re.compile(r"(?P<person>s[123]-\d+)-\d+", re.IGNORECASE)}
"""Recording ids that a card makes of folders: names of files do not have them, lists made with this suite do."""

_ADDED = re.compile(r"(?:-nsrr|-profusion|_emb(?:eddings?)?)+$", re.IGNORECASE)
"""What annotations and embeddings of a recording are called beyond its own name."""

_SUFFIX = re.compile(
    r"\.(?:hdf5|h5|edf|rec|dat|hea|mat|npy|npz|parquet|safetensors|pt|pth|pkl|pickle|csv|tsv|xml|zarr|txt)(?:\.gz)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Place:
    """Cohort id, recording id and person (both case folded; no person where tables of the cohort say who is who)."""

    cohort: str
    recording: str
    person: str | None


def place(text: str, cohort_id: str | None = None) -> Place | None:
    """Place a recording id: its name or path, with or without suffix, in any case.

    Parameters
    ----------
    text : str
        ``shhs1-200001``, ``mros/visit1/mros-visit1-aa3170.hdf5``, ``10000_17728``.
    cohort_id : str, optional
        Cohort it is known to be of; without one the id must tell it.

    Returns
    -------
    Place or None
        ``None`` when the id fits no rule. Of a cohort without a rule for names (a folder of files) the name is the
        recording's id, and nothing is known of the person.
    """
    path = _without_suffix(text)
    if not path or path.endswith("/"):
        return None
    if cohort_id is not None and cohort_id not in CARD_IDS:
        return Place(cohort_id, bare(text), None)
    plain = _ADDED.sub("", path)
    return _placed(path, cohort_id) or (_placed(plain, cohort_id) if plain != path else None)


def bare(text: str) -> str:
    """An id as it is, case folded, without folders and a file's suffix: for ids that fit no rule of their cohort."""
    return _without_suffix(text).rpartition("/")[2].casefold()


def _without_suffix(text: str) -> str:
    return _SUFFIX.sub("", text.strip().replace("\\", "/"))


def _placed(path: str, cohort_id: str | None) -> Place | None:
    if cohort_id is None:
        return next((found for name in NAMED if (found := _by_card(path, name)) is not None), None)
    name = path.rpartition("/")[2]
    if cohort_id in OWN_IDS and (match := OWN_IDS[cohort_id].fullmatch(name)):
        return Place(cohort_id, name.casefold(), match["person"].casefold())
    found = _by_card(path, cohort_id)
    return found if found or cohort_id not in FOLDERS else _by_card(FOLDERS[cohort_id] + name, cohort_id)


def _by_card(path: str, cohort_id: str) -> Place | None:
    pattern, layout = _rule(cohort_id)
    for ending in ("", *ENDINGS.get(cohort_id, ())):
        match = pattern.fullmatch(path + ending)
        if match is not None:
            return _place(path + ending, match, layout)
    return None


def _place(path: str, match: re.Match[str], layout: CohortLayout) -> Place:
    """As ``cohorts.finder`` names what it finds on disk."""
    folder, _, stem = path.rpartition("/")
    groups = {name: value or "" for name, value in match.groupdict().items()}
    groups |= {"stem": stem, "name": stem, "dir": f"{folder}/" if folder else ""}
    rules, persons = layout.layout, layout.persons
    by_table = persons.column is not None or persons.alike or persons.unknown
    person = None if by_table else rules.person.format_map(groups).casefold()
    return Place(layout.card.id, rules.id.format_map(groups).casefold(), person)


@cache
def _rule(cohort_id: str) -> tuple[re.Pattern[str], CohortLayout]:
    layout = load_layout(cohort_id)
    return compiled(layout.layout.file, cohort_id), layout
