"""Phase 1: embed every recording of a cohort that is not in the store yet.

On a CPU each worker process embeds whole recordings, and so does each worker of a Dask scheduler. On an accelerator
workers read and preprocess, this process runs the model over several recordings at once, and threads store the
results. One numeric thread per process.

A recording that fails is listed with its reason and does not stop the rest; whatever is finished is on disk, so a
killed run resumes. One that the encoder refused leaves a marker there: the next run lists it again without reading it.
A fault of the moment, or of a plug-in's code, leaves none: the recording is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.embed.crew import Crew, LocalCrew
from hypnos_bench.embed.overlap import overlapped
from hypnos_bench.embed.workers import Setup
from hypnos_bench.encoders.base import EncoderCard, EncoderOptions, is_staged
from hypnos_bench.encoders.registry import make_encoder
from hypnos_bench.spec import digest
from hypnos_bench.store.embeddings import EmbeddingStore


@dataclass(frozen=True)
class EmbedReport:
    """What phase 1 did: recordings embedded now (`damaged` of them in place of a damaged file), reused, and failed.

    `known` of the failed were refused by an earlier run, and not tried again.
    """

    embedded: int
    reused: int
    damaged: int
    seconds: float
    failed: tuple[Exclusion, ...]
    known: int = 0


def embed_recordings(
    recordings: Sequence[Recording],
    fingerprints: Mapping[str, str],
    encoder_id: str,
    options: EncoderOptions,
    results: Path,
    *,
    simulated: bool = False,
    workers: int = 1,
    overlap: bool | None = None,
    crew: Crew | None = None,
    retry: bool = False,
    progress: Callable[[Iterator[Any], int, str], Iterator[Any]] | None = None,
) -> EmbedReport:
    """Embed what is missing and return what happened.

    Parameters
    ----------
    recordings : sequence of Recording
    fingerprints : mapping of str to str
        Recording id to source fingerprint, to tell fresh entries from stale ones.
    encoder_id : str
    options : EncoderOptions
    results : Path
        Folder that holds the store.
    simulated : bool
        Whether the stored files must say that nobody was recorded.
    workers : int
        Processes. With 1 everything happens in this process, unless work overlaps.
    overlap : bool, optional
        Prepare in worker processes and run the model here, for encoders that offer both stages. Default: on an
        accelerator.
    crew : Crew, optional
        Who embeds; `workers` and `overlap` are for this machine and mean nothing then.
    retry : bool
        Whether recordings that the encoder refused before are tried again.
    progress : callable, optional
        Wraps the iterator of finished recordings: ``progress(iterator, total, description)``.

    Raises
    ------
    DataError
        When the store cannot be written, or a worker process of this machine dies.
    """
    started = time.perf_counter()
    encoder = make_encoder(encoder_id, options)
    card, store = encoder.card, EmbeddingStore(results)
    states = {r.id: store.state(card, r, fingerprints[r.id]) for r in recordings}
    known = {} if retry else _known(store, card, [r for r in recordings if states[r.id] == "lost"], fingerprints)
    todo = {r.id: r for r in recordings if states[r.id] != "ok" and r.id not in known}
    if overlap is None:
        overlap = options.device.startswith(("cuda", "mps"))
    outcomes: Iterator[Exclusion | None]
    if crew is None and overlap and is_staged(encoder) and len(todo) > 1:
        staff = min(workers, len(todo))
        setup = (encoder_id, options)
        outcomes = overlapped([*todo.values()], encoder, store, setup, staff, simulated=simulated)
    else:
        units = [(recording, fingerprints[recording.id]) for recording in todo.values()]
        shared = Setup(encoder_id, digest(card.definition()), options, results, simulated)
        outcomes = (crew or LocalCrew(workers, encoder)).embed(units, shared)
    failed: list[Exclusion] = []
    for outcome in (progress or _no_progress)(outcomes, len(todo), f"embed {encoder_id}"):
        if outcome is not None:
            failed.append(outcome)
            if not outcome.transient:
                store.mark_lost(card, todo[outcome.recording], fingerprints[outcome.recording], outcome.reason)
    return EmbedReport(
        embedded=len(todo) - len(failed),
        reused=sum(state == "ok" for state in states.values()),
        damaged=sum(state == "damaged" for state in states.values()),
        seconds=time.perf_counter() - started,
        failed=tuple(sorted([*known.values(), *failed], key=lambda exclusion: exclusion.recording)),
        known=len(known),
    )


def _known(
    store: EmbeddingStore, card: EncoderCard, recordings: Sequence[Recording], fingerprints: Mapping[str, str]
) -> dict[str, Exclusion]:
    """Recording id to what an earlier run said about it."""
    reasons = {r.id: store.lost_reason(card, r, fingerprints[r.id]) for r in recordings}
    return {name: Exclusion(name, reason) for name, reason in reasons.items() if reason is not None}


def _no_progress(done: Iterator[Any], total: int, text: str) -> Iterator[Any]:
    return done
