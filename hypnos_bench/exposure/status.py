"""What an encoder has seen of the persons of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from hypnos_bench.cohorts.base import Cohort
from hypnos_bench.cohorts.registry import COHORTS
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.exposure.entries import ExposureList
from hypnos_bench.leakage import seen_in_pretraining, unrecognised
from hypnos_bench.spec import digest

Status = Literal["clean", "cohort seen", "person seen", "not known"]

CLEAN: Status = "clean"
COHORT_SEEN: Status = "cohort seen"
PERSON_SEEN: Status = "person seen"
NOT_KNOWN: Status = "not known"

CARD = "card"
"""Source of what the encoder's card says."""

SIMULATED = "simulated: nobody was recorded"
"""Source of a cohort that no encoder can have seen."""

USER_FOLDERS = frozenset({"array-folder", "edf-folder"})
"""Cohorts whose recordings may be anybody's: no card can name them."""

_DEMO = "demo"
_UNTRAINED = "untrained"


@dataclass(frozen=True)
class Exposure:
    """What one encoder has seen of one cohort.

    Parameters
    ----------
    encoder, cohort : str
        Ids.
    seen : mapping of str to tuple of str
        Person, as recordings carry it, to the roles under which lists of seen recordings name the person.
    cohort_seen : bool
        Whether recordings of the cohort were used in pre-training, whoever's.
    known : bool
        Whether anything says what was used. Without it no person is known to be unseen either.
    sources : tuple of str
        Names of the lists that cover the cohort, and ``card`` where the card says whether it was used; or `SIMULATED`.
    made_by : str
        As ``EncoderCard.made_by``: an encoder whose lists count as well.
    """

    encoder: str
    cohort: str
    seen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cohort_seen: bool = False
    known: bool = False
    sources: tuple[str, ...] = ()
    made_by: str = ""

    @cached_property
    def digest(self) -> str:
        """Changes with anything that could change a block: cells stamped with another one are stamped again."""
        seen = {person: sorted(roles) for person, roles in self.seen.items()}
        return digest([self.encoder, self.cohort, seen, self.cohort_seen, self.known, list(self.sources)])

    def person(self, person: str) -> Status:
        """Status of one person."""
        return PERSON_SEEN if person in self.seen else self._of_others

    @property
    def _of_others(self) -> Status:
        if self.cohort_seen:
            return COHORT_SEEN
        return CLEAN if self.known else NOT_KNOWN

    def seen_among(self, persons: Iterable[str]) -> tuple[str, ...]:
        """Those of some persons who were seen, sorted: who ``--clean-only`` leaves out of the test side."""
        return tuple(sorted(set(persons) & set(self.seen)))

    def block(self, tested: Iterable[str]) -> dict[str, Any]:
        """The block ``n["exposure"]`` of a cell.

        Parameters
        ----------
        tested : iterable of str
            Persons of the test side; repeats do not count.

        Returns
        -------
        dict
            ``status``; ``persons``, how many of the tested were seen; ``persons_test``, how many were tested;
            ``roles``, for each role how many of the seen it names (a person may have several); ``sources``. With
            ``card`` as the only source of a cohort that was seen, nobody could be looked up by person.
        """
        everyone = set(tested)
        seen = self.seen_among(everyone)
        roles = Counter(role for person in seen for role in self.seen[person])
        return {
            "status": PERSON_SEEN if seen else self._of_others,
            "persons": len(seen),
            "persons_test": len(everyone),
            "roles": dict(sorted(roles.items())),
            "sources": list(self.sources),
        }


def exposure_of(
    card: EncoderCard, cohort: Cohort | tuple[str, Mapping[str, str]], lists: Sequence[ExposureList]
) -> Exposure:
    """Join an encoder's card and lists to the persons of a cohort.

    Parameters
    ----------
    card : EncoderCard
        ``pretrained_on`` says which cohorts were used: ``None`` is not known, ``()`` is that nothing was learned from
        recordings. A name that no cohort has, by any of the names in ``leakage``, may be any cohort's; and
        `USER_FOLDERS` may hold recordings of any cohort: what such a card leaves open is not known.
    cohort : Cohort, or tuple of cohort id and mapping of recording id to person
    lists : sequence of ExposureList
        Those of this encoder, and of the one that made its embeddings, as
        :func:`~hypnos_bench.exposure.load_lists` gives them; others are passed over.

    Returns
    -------
    Exposure
        A person is seen when a list names the person or one of the recordings in a role that was learned from. A list
        with any entry of the cohort makes it known for all of its persons. Lists win over a card that says that
        nothing was learned, unless the encoder is marked as untrained. A simulated cohort that neither names is clean.
    """
    cohort_id, people = (
        (cohort.card.id, {r.id: r.person for r in cohort.recordings}) if isinstance(cohort, Cohort) else cohort
    )
    untrained = card.pretrained_on == () and _UNTRAINED in card.marks
    own = {card.id, card.made_by}
    covering = [x for x in lists if x.encoder in own and cohort_id in x.cohorts and not untrained]
    named = seen_in_pretraining(card.pretrained_on, cohort_id) is not None
    if _is_simulated(cohort) and not named and not covering:
        return Exposure(card.id, cohort_id, known=True, sources=(SIMULATED,))
    told = named or _tells(card, cohort_id)
    used = any(x.levels[entry.role] != "not seen" for x in covering for entry in x.of(cohort_id))
    agrees = told and (named or not used)  # a card that says the contrary of the lists is no witness
    sources = sorted({x.name for x in covering}) + ([CARD] if agrees else [])
    return Exposure(
        card.id,
        cohort_id,
        seen=_seen(cohort_id, people, covering),
        cohort_seen=named or used,
        known=told or bool(covering),
        sources=tuple(sources),
        made_by=card.made_by,
    )


def _is_simulated(cohort: Cohort | tuple[str, Mapping[str, str]]) -> bool:
    return cohort.card.simulated if isinstance(cohort, Cohort) else cohort[0] == _DEMO


def _tells(card: EncoderCard, cohort_id: str) -> bool:
    """Whether a card that does not name the cohort says that it was not used."""
    if card.pretrained_on is None:
        return False
    if not card.pretrained_on:
        return True
    registered = set(COHORTS.ids()) - USER_FOLDERS
    return cohort_id not in USER_FOLDERS and not unrecognised(card.pretrained_on, registered)


def _seen(cohort_id: str, people: Mapping[str, str], lists: Sequence[ExposureList]) -> dict[str, tuple[str, ...]]:
    """Persons of the cohort at hand to the roles in which they were seen, sorted."""
    by_recording = {recording.casefold(): person for recording, person in people.items()}
    by_person: dict[str, set[str]] = {}
    for person in people.values():
        by_person.setdefault(person.casefold(), set()).add(person)
    roles: dict[str, set[str]] = {}
    for one in lists:
        for entry in one.of(cohort_id):
            if one.levels[entry.role] != "seen":
                continue
            # By recording too: tables and notes of a cohort may join recordings of which the names do not tell.
            found = set(by_person.get(entry.person or "", ()))
            if entry.recording in by_recording:
                found.add(by_recording[entry.recording])
            for person in found:
                roles.setdefault(person, set()).add(entry.role)
    return {person: tuple(sorted(names)) for person, names in sorted(roles.items())}


def is_stale(block: Mapping[str, Any], encoder: str, cohort_id: str, lists: Sequence[ExposureList]) -> bool:
    """Whether lists were added or removed since a cell's block was made; told from their names.

    Parameters
    ----------
    block : mapping
        ``n["exposure"]`` of a cell.
    encoder : str
        Id of its encoder.
    cohort_id : str
    lists : sequence of ExposureList
        All that are kept, those of other encoders too: embeddings may be another encoder's.
    """
    used = set(block.get("sources", ())) - {CARD, SIMULATED}
    own = {x.name for x in lists if x.encoder == encoder and cohort_id in x.cohorts}
    return not own <= used <= {x.name for x in lists}
