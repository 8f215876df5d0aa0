"""Who the encoders of a run have seen in pre-training: told in every cell, and left out of test sides when asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hypnos_bench.cohorts.base import Cohort
from hypnos_bench.errors import UsageError
from hypnos_bench.exposure import Exposure, exposure_of, load_lists
from hypnos_bench.probe.exposed import is_stamped, stamped
from hypnos_bench.runner.request import RunRequest
from hypnos_bench.runner.sources import Source
from hypnos_bench.spec import CellSpec
from hypnos_bench.store.cells import CellStore


def exposures(request: RunRequest, cohort: Cohort, sources: Iterable[Source]) -> dict[str, Exposure]:
    """What each encoder has seen of a cohort, by ``Source.key``."""
    found = {source.key: source.card for source in sources}
    lists = load_lists(request.results, *{name for card in found.values() for name in (card.id, card.made_by)})
    return {key: exposure_of(card, cohort, lists) for key, card in found.items()}


def untested(request: RunRequest, cohort: Cohort, known: Mapping[str, Exposure]) -> frozenset[str]:
    """Persons whom any encoder of the run has seen: ``--clean-only`` leaves them out of test sides.

    Raises
    ------
    UsageError
        When an encoder has seen the cohort and nothing says whom, or when it has seen everybody.
    """
    blind = sorted({e.encoder for e in known.values() if e.cohort_seen and not _tells_whom(request, cohort, e)})
    if blind:
        raise UsageError(
            f"--clean-only: {', '.join(blind)} was pre-trained on {cohort.card.id}, but nothing here says on whom; add "
            f"its list with: hypnos-bench exposure add FILE --encoder {blind[0]}"
        )
    everyone = {recording.person for recording in cohort.recordings}
    seen = frozenset(person for e in known.values() for person in e.seen_among(everyone))
    if seen == everyone:
        raise UsageError(
            f"--clean-only: the encoders of this run have seen all {len(seen)} persons of {cohort.card.id}"
        )
    return seen


def _tells_whom(request: RunRequest, cohort: Cohort, exposure: Exposure) -> bool:
    """Whether a list says of whom of the cohort an encoder has learned; lists for heads alone do not."""
    return any(
        one.levels[entry.role] != "not seen"
        for one in load_lists(request.results, exposure.encoder, exposure.made_by)
        for entry in one.of(cohort.card.id)
    )


def not_known(known: Mapping[str, Exposure]) -> list[str]:
    """Encoders of which nothing says what they have seen."""
    return sorted({e.encoder for e in known.values() if not e.known})


def restamp(store: CellStore, specs: Sequence[CellSpec], exposure: Exposure) -> int:
    """Say anew what is known of exposure in saved cells that say something else; returns how many there were.

    Nothing is computed and no key changes. Failed cells stay as they are: whom they would have tested is not stored,
    and the next run computes them anyway.
    """
    count = 0
    for spec in specs:
        cell = store.get(spec)
        if cell is None or cell.status != "ok" or is_stamped(cell.n, exposure):
            continue
        store.amend(cell, stamped(cell.n, exposure, store.load_side(store.path(spec)).persons))
        count += 1
    return count
