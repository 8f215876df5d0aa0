"""The leakage guard: nobody on both sides, and what an encoder may have seen before.

`assert_disjoint` is asked in every cell, although splits are made to be disjoint: what a paper rests on is checked
where it is used, not where it is made.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from hypnos_bench.errors import IntegrityError

PRETRAINED_MARK = "pre-trained on this cohort"
"""What every number of an encoder on a cohort of its own pre-training carries."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "abc": ("abc-study", "apnea-bariatric-surgery-and-cpap", "apnea-bariatric-surgery-and-cpap-study"),
    "afdb": ("mit-bih-af", "mit-bih-atrial-fibrillation", "mit-bih-atrial-fibrillation-database"),
    "apnea-ecg": ("apneaecg", "apnea-ecg-database", "cinc2000", "challenge-2000"),
    "apples": ("apnea-positive-pressure-long-term-efficacy-study",),
    "cap": ("capslpdb", "cap-sleep", "cap-sleep-database"),
    "ccshs": ("cleveland-childrens-sleep-and-health-study",),
    "cfs": ("cleveland-family-study",),
    "chat": ("childhood-adenotonsillectomy-trial",),
    "cinc2017": ("challenge-2017", "physionet-2017"),
    "cpsc2021": ("challenge-cpsc2021", "china-physiological-signal-challenge-2021"),
    "dod-h": ("dod", "dreem", "dreem-open", "dreem-open-dataset-healthy"),
    "dod-o": ("dod", "dreem", "dreem-open", "dreem-open-dataset-obstructive"),
    "hmc": ("hmc-sleep-staging", "haaglanden-medisch-centrum", "haaglanden-medisch-centrum-sleep-staging-database"),
    "homepap": ("home-pap", "home-positive-airway-pressure"),
    "hsp": ("bdsp", "bdsp-hsp", "human-sleep-project", "the-human-sleep-project"),
    "isruc": ("isruc-sleep", "isruc-sleep-dataset"),
    "ltafdb": ("long-term-af", "long-term-af-database"),
    "mass": ("montreal-archive-of-sleep-studies",),
    "mesa": ("mesa-sleep", "mesa-sleep-study", "multi-ethnic-study-of-atherosclerosis"),
    "mitdb": ("mit-bih", "mit-bih-arrhythmia", "mit-bih-arrhythmia-database"),
    "mnc": (
        *("mignot", "mignot-nature-communications", "ssc", "cnc", "dhc", "mnc-ssc", "mnc-cnc", "mnc-dhc"),
        *("stanford", "stanford-sleep-cohort", "stanford-sleep-clinic"),
    ),
    "mros": ("mros-sleep", "mros-sleep-study", "outcomes-of-sleep-disorders-in-older-men"),
    "nchsdb": ("nch", "nch-sleep-databank", "nationwide-childrens-hospital-sleep-databank"),
    "physionet-2018": ("phys2018", "cinc2018", "challenge-2018", "you-snooze-you-win"),
    "ptb-xl": ("challenge-2020", "challenge-2021"),
    "shdb-af": ("shdb",),
    "shhs": ("sleep-heart-health-study",),
    "sleep-edf": (
        *("sleep-edfx", "sleep-edf-expanded", "sleep-edf-database-expanded", "sleep-edf-database"),
        *("sedf", "sedf-sc", "sedf-st", "sleep-edf-sc", "sleep-edf-st"),
    ),
    "slpdb": ("mit-bih-psg", "mit-bih-polysomnographic", "mit-bih-polysomnographic-database"),
    "sof": ("study-of-osteoporotic-fractures",),
    "stages": ("stanford", "stanford-technology-analytics-and-genomics-in-sleep"),
    "ucddb": ("ucd", "st-vincent", "st-vincents-university-hospital-university-college-dublin-sleep-apnea-database"),
    "wsc": ("wisconsin", "wisconsin-sleep-cohort", "wisconsin-sleep-cohort-study"),
}
"""Other names under which model cards list a cohort, and collections that hold it."""

COLLECTIONS: Mapping[str, frozenset[str]] = {
    "nsrr": frozenset(
        {"abc", "apples", "ccshs", "cfs", "chat", "homepap", "mesa", "mnc", "mros", "nchsdb", "shhs", "sof"}
        | {"stages", "wsc"}
    ),
}
"""Archives that a model card may name as a whole."""

FOREIGN = frozenset(
    {"audioset", "bioserenity", "chb-mit", "code-15", "imagenet", "librispeech", "mimic-iii", "mimic-iv"}
    | {"mimic-iv-ecg", "tuab", "tueg", "tuh", "tuh-eeg", "tusz", "uk-biobank"}
)
"""Data that cards name and that no cohort here comes from."""

_HOLDERS = ("nsrr", "sleepdata", "physionet")
"""Archives whose names stand before a cohort's: ``nsrr/shhs``."""

_VISIT = re.compile(r"(?:visit|baseline|followup|subset|subgroup|part|ss|v)?\d*")
_SHOWN = 5


def assert_disjoint(
    train: Iterable[str],
    test: Iterable[str],
    family_of: Mapping[str, str] | None = None,
    duplicates: Iterable[Collection[str]] = (),
    *,
    where: str = "split",
) -> None:
    """Refuse persons, families or duplicate nights on both sides.

    Call it for every outer fold, and for every drawn budget against the same test side.

    Parameters
    ----------
    train, test : iterable of str
        Person ids.
    family_of : mapping of str to str, optional
        Person to family; a person without an entry is one alone.
    duplicates : iterable of collections of str
        Persons who have a night in common, as ``duplicates.common_persons`` gives them.
    where : str
        What is being checked, for the message: ``"shhs fold 2, 1%, seed 3"``.

    Raises
    ------
    IntegrityError
        Naming who is on both sides.
    """
    sides = set(train), set(test)
    families = family_of or {}
    _refuse(where, "person", sides[0] & sides[1], "make the split by persons")
    by_family = [{families.get(person, person) for person in side} for side in sides]
    _refuse(where, "family", by_family[0] & by_family[1], "make the split by families")
    torn = {" = ".join(sorted(group)) for group in duplicates if not any(side.isdisjoint(group) for side in sides)}
    _refuse(where, "duplicate recording", torn, "merge these persons into one family")


def seen_in_pretraining(pretrained_on: Iterable[str] | None, cohort_id: str) -> str | None:
    """Mark for the numbers of an encoder on a cohort, or ``None`` when its card names no such cohort.

    Names are compared without case and punctuation, with a visit or part at their end (``shhs1``, ``MrOS-visit2``),
    under their usual other names (`ALIASES`), after the name of an archive (``nsrr/shhs``), and by archive
    (`COLLECTIONS`). What a card does not say is not known:
    no mark is no proof.

    Parameters
    ----------
    pretrained_on : iterable of str
        ``EncoderCard.pretrained_on``.
    cohort_id : str
    """
    names = _names(cohort_id) | {_plain(archive) for archive, held in COLLECTIONS.items() if cohort_id in held}
    return PRETRAINED_MARK if any(_is_one_of(stated, names) for stated in pretrained_on or ()) else None


def unrecognised(pretrained_on: Iterable[str], cohort_ids: Iterable[str]) -> tuple[str, ...]:
    """Names of a model card that are no cohort's, no archive's and not `FOREIGN`: nothing says what was used there.

    Parameters
    ----------
    pretrained_on : iterable of str
        ``EncoderCard.pretrained_on``.
    cohort_ids : iterable of str
        Cohorts that there are, beside those of `ALIASES`.
    """
    cohorts = {*cohort_ids, *ALIASES}
    names = {_plain(name) for name in (*COLLECTIONS, *FOREIGN)}.union(*map(_names, cohorts))
    return tuple(stated for stated in pretrained_on if not _is_one_of(stated, names))


def _names(cohort_id: str) -> set[str]:
    own = {_plain(name) for name in (cohort_id, *ALIASES.get(cohort_id, ()))}
    return own | {holder + name for holder in _HOLDERS for name in own}


def _is_one_of(stated: str, names: Collection[str]) -> bool:
    name = _plain(stated)
    return any(name.startswith(known) and _VISIT.fullmatch(name[len(known) :]) for known in names)


def _refuse(where: str, what: str, shared: Collection[str], remedy: str) -> None:
    if not shared:
        return
    named = ", ".join(sorted(shared)[:_SHOWN]) + (f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else "")
    raise IntegrityError(f"{where}: {what} on both the training and the test side: {named}; {remedy}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
