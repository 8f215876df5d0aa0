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
    "apnea-ecg": ("apneaecg", "cinc2000", "challenge-2000"),
    "afdb": ("mit-bih-af",),
    "cap": ("capslpdb", "cap-sleep"),
    "cinc2017": ("challenge-2017", "physionet-2017"),
    "dod-h": ("dod", "dreem", "dreem-open"),
    "dod-o": ("dod", "dreem", "dreem-open"),
    "hmc": ("hmc-sleep-staging",),
    "hsp": ("bdsp", "bdsp-hsp", "human-sleep-project"),
    "isruc": ("isruc-sleep",),
    "mitdb": ("mit-bih", "mit-bih-arrhythmia"),
    "mnc": ("mignot", "ssc", "cnc", "dhc", "mnc-ssc", "mnc-cnc", "mnc-dhc"),
    "physionet-2018": ("phys2018", "cinc2018", "challenge-2018", "you-snooze-you-win"),
    "ptb-xl": ("challenge-2020", "challenge-2021"),
    "shdb-af": ("shdb",),
    "slpdb": ("mit-bih-psg", "mit-bih-polysomnographic"),
    "sleep-edf": ("sleep-edfx", "sleep-edf-expanded", "sedf", "sedf-sc", "sedf-st", "sleep-edf-sc", "sleep-edf-st"),
    "ucddb": ("ucd", "st-vincent"),
}
"""Other names under which model cards list a cohort, and collections that hold it."""

COLLECTIONS: Mapping[str, frozenset[str]] = {
    "nsrr": frozenset(
        {"abc", "apples", "ccshs", "cfs", "chat", "homepap", "mesa", "mnc", "mros", "nchsdb", "shhs", "sof"}
        | {"stages", "wsc"}
    ),
}
"""Archives that a model card may name as a whole."""

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
    under their usual other names (`ALIASES`) and by archive (`COLLECTIONS`). What a card does not say is not known:
    no mark is no proof.

    Parameters
    ----------
    pretrained_on : iterable of str
        ``EncoderCard.pretrained_on``.
    cohort_id : str
    """
    names = {_plain(cohort_id), *(_plain(alias) for alias in ALIASES.get(cohort_id, ()))}
    names |= {_plain(archive) for archive, members in COLLECTIONS.items() if cohort_id in members}
    for stated in map(_plain, pretrained_on or ()):
        if any(stated.startswith(name) and _VISIT.fullmatch(stated[len(name) :]) for name in names):
            return PRETRAINED_MARK
    return None


def _refuse(where: str, what: str, shared: Collection[str], remedy: str) -> None:
    if not shared:
        return
    named = ", ".join(sorted(shared)[:_SHOWN]) + (f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else "")
    raise IntegrityError(f"{where}: {what} on both the training and the test side: {named}; {remedy}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
