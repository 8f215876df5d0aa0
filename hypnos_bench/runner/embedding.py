"""Phase 1 of a run: every encoder embeds the labelled recordings, before anything is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypnos_bench.cluster.shard import Shard
from hypnos_bench.cohorts.base import Exclusion
from hypnos_bench.embed import EmbedReport, embed_recordings
from hypnos_bench.embed.crew import Crew
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.runner.labels import Labels, Progress
from hypnos_bench.runner.plan import CohortPlan
from hypnos_bench.runner.request import RunRequest
from hypnos_bench.runner.shards import Share
from hypnos_bench.runner.sources import PRECOMPUTED, Source

Embedded = Mapping[str, tuple[tuple[Exclusion, ...], float]]
"""``Source.key`` to the labelled recordings that could not be embedded, and the seconds that the others took."""

_SHOWN = 5


def embed_all(
    request: RunRequest,
    part: CohortPlan,
    labels: Labels,
    crew: Crew | None,
    progress: Progress,
    say: Callable[[str], None],
) -> Embedded:
    """Embed what is not stored, encoder after encoder.

    Raises
    ------
    DataError
        When the store cannot be written, a worker process dies, or recordings of other shards are missing.
    """
    share = Share(Shard.parse(request.shard), request.results, part.cohort) if request.shard else None
    found: dict[str, tuple[tuple[Exclusion, ...], float]] = {}
    missing: set[str] = set()
    for source in {source.key: source for source, _ in part.rows}.values():
        if not source.embedded:
            found[source.key] = ((), 0.0)
            continue
        _tell_unmatched(source, part, say)
        labelled = labels.labelled(part.cohort)
        own = labelled if share is None else [recording for recording in labelled if share.is_own(recording)]
        report = embed_recordings(
            own,
            part.cohort.source_fingerprints,
            source.reference,
            source.options,
            request.results,
            simulated=part.cohort.card.simulated,
            workers=request.workers,
            crew=crew,
            retry=request.recompute,
            progress=progress,
        )
        _tell(source, report, say)
        lost = list(report.failed)
        if share is not None:
            others, still = share.of_others(source, labelled)
            lost += others
            missing |= still
        found[source.key] = (tuple(lost), report.seconds)
    if share is not None:
        share.wait_for(missing)
    return found


def _tell(source: Source, report: EmbedReport, say: Callable[[str], None]) -> None:
    if report.damaged:
        say(f"{report.damaged} damaged embedding files were made again")
    for exclusion in report.failed:
        say(f"not embedded: {source.name}: {exclusion.recording}: {exclusion.reason}")
    if report.known:
        say(
            f"{source.name}: {report.known} of these were refused by an earlier run and not tried again; to do so: "
            "hypnos-bench embed --retry, or run --recompute"
        )


def _tell_unmatched(source: Source, part: CohortPlan, say: Callable[[str], None]) -> None:
    """Embeddings from elsewhere that belong to no recording of the cohort: their names may be spelt otherwise."""
    if source.reference.partition(":")[0] != PRECOMPUTED:
        return
    unmatched = getattr(make_encoder(source.reference, source.options), "unmatched", None)
    names = [] if unmatched is None else unmatched(part.cohort.recordings)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        say(
            f"{source.name}: {len(names)} files belong to no recording of {part.cohort.card.id}: "
            f"{', '.join(names[:_SHOWN])}{more}"
        )
