"""Our store in shapes that others read: one file and one sidecar per recording, and a card for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnos_bench.cohorts.base import Exclusion, Recording
from hypnos_bench.encoders.base import EncoderCard
from hypnos_bench.encoders.precomputed.statement import CARD_FILE
from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.exporting.shapes import Shaped, pooled_to_epochs, shaped
from hypnos_bench.exporting.writers import WRITERS, json_bytes, put
from hypnos_bench.spec import EPOCH_S
from hypnos_bench.store.atomic import safe_name
from hypnos_bench.store.embeddings import EmbeddingStore

_ENDING = "-export"


@dataclass(frozen=True)
class ExportReport:
    """Recordings written, those whose files were there already, and those left out with the reason."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: tuple[Exclusion, ...]


def export_recordings(
    recordings: Sequence[Recording],
    fingerprints: Mapping[str, str],
    card: EncoderCard,
    results: Path,
    out: Path,
    shape: str,
    *,
    simulated: bool = False,
    pool_epochs: bool = False,
    overwrite: bool = False,
    progress: Callable[[Iterator[Any], int, str], Iterator[Any]] | None = None,
) -> ExportReport:
    """Write what the store holds of a cohort and an encoder.

    Parameters
    ----------
    recordings : sequence of Recording
    fingerprints : mapping of str to str
        Recording id to source fingerprint.
    card : EncoderCard
        Of the encoder that made the embeddings.
    results, out : Path
        Folder that holds the store, and folder to write to.
    shape : str
        One of :data:`~hypnos_bench.exporting.writers.WRITERS`.
    simulated : bool
        Whether nobody was recorded; the card says so.
    pool_epochs : bool
        Average rows over each 30-s epoch first, as ``run`` does. Rows of 30 s stay as they are, with their lag.
    overwrite : bool
        Replace other files of the same names.
    progress : callable, optional
        As in :func:`~hypnos_bench.embed.embed_recordings`.

    Raises
    ------
    DataError
        When another file is in the way, recordings disagree about the folder's card, or the disk refuses.
    """
    exporter = _Exporter(EmbeddingStore(results), card, out, shape, simulated, pool_epochs, overwrite)
    steps = ((r, exporter.export(r, fingerprints[r.id])) for r in recordings)
    with_progress = progress or (lambda done, total, text: done)
    written: list[str] = []
    kept: list[str] = []
    left_out: list[Exclusion] = []
    for recording, outcome in with_progress(steps, len(recordings), f"export {card.id}"):
        if isinstance(outcome, str):
            left_out.append(Exclusion(recording.id, outcome))
        else:
            (written if outcome else kept).append(recording.id)
    return ExportReport(tuple(written), tuple(kept), tuple(left_out))


class _Exporter:
    def __init__(
        self,
        store: EmbeddingStore,
        card: EncoderCard,
        out: Path,
        shape: str,
        simulated: bool,
        pool_epochs: bool,
        overwrite: bool,
    ) -> None:
        self._store, self._card, self._out, self._shape = store, card, out, shape
        self._simulated, self._pool, self._overwrite = simulated, pool_epochs, overwrite
        self._said: dict[str, Any] | None = None

    def export(self, recording: Recording, fingerprint: str) -> bool | str:
        """Whether files were written, or the reason why this recording is left out."""
        state = self._store.state(self._card, recording, fingerprint)
        if state != "ok":
            return f"not in the store ({state}); run hypnos-bench embed with the same options first"
        try:
            embedding = self._store.load(self._card, recording, fingerprint)
            pooled_from_s = embedding.step_s if self._pool and embedding.step_s != EPOCH_S else None
            if pooled_from_s is not None:
                embedding = pooled_to_epochs(embedding)
            made = shaped(embedding, self._shape, recording.duration_s())
        except ValueError as error:
            return str(error)
        except IntegrityError as error:
            return f"damaged in the store ({error}); run hypnos-bench embed again"
        self._say(made, pooled_from_s)
        ending, writer = WRITERS[self._shape]
        stem = safe_name(recording.id)
        sidecar = {"recording": recording.id, **made.sidecar}
        # Sidecar last: a file without it was cut off, and is written again.
        new = put(self._out / f"{stem}{ending}", writer(made.arrays), overwrite=self._overwrite)
        return put(self._out / f"{stem}.json", json_bytes(sidecar), overwrite=self._overwrite) or new

    def _say(self, made: Shaped, pooled_from_s: float | None) -> None:
        """Write the card before the first file; all files must fit it."""
        said = {**card_of(self._card, simulated=self._simulated, pooled_from_s=pooled_from_s), **made.card}
        if self._said is None:
            put(self._out / CARD_FILE, json_bytes(said), overwrite=self._overwrite)
            self._said = said
        elif said != self._said:
            differing = sorted(name for name in {*said, *self._said} if said.get(name) != self._said.get(name))
            raise DataError(
                f"{self._out}: recordings differ in {', '.join(differing)}; one folder holds one kind of embedding"
            )


def card_of(card: EncoderCard, *, simulated: bool, pooled_from_s: float | None = None) -> dict[str, Any]:
    """What ``card.json`` says of embeddings that this suite made.

    Parameters
    ----------
    card : EncoderCard
        Of the encoder that made them.
    simulated : bool
        Whether nobody was recorded.
    pooled_from_s : float, optional
        Step of the rows that were averaged over epochs; a lag of theirs is no whole row any more.
    """
    pooled = pooled_from_s is not None
    trail = f"rows trail the signal by {card.lag_rows * (pooled_from_s or 0):g} s as in the source"
    marks = sorted({*card.marks, *(["simulated"] if simulated else [])})
    notes = [
        f"made by hypnos-bench with encoder {card.id}{', pooled to 30-s epochs' if pooled else ''}",
        trail if pooled and card.lag_rows else "",
        card.note,
    ]
    weights = " ".join(filter(None, (card.weights_name, f"sha256 {card.weights}" if card.weights else "")))
    stated: dict[str, Any] = {
        # The export of an export keeps its id, so that lists of either name hold for it.
        "id": _kebab(card.id if card.made_by and card.id.endswith(_ENDING) else f"{card.id}{_ENDING}"),
        "made_by": card.made_by or card.id,
        "title": f"{card.title}, exported",
        "causal": card.causal,
        "lag_rows": 0 if pooled else card.lag_rows,
        "licence": card.licence,
        "note": ". ".join(filter(None, notes)),
    }
    optional = {
        "weights": weights,
        "marks": marks,
        "pretrained_on": None if card.pretrained_on is None else list(card.pretrained_on),
    }
    return {**stated, **{name: value for name, value in optional.items() if value not in (None, "")}}


def _kebab(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))
