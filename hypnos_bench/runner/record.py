"""What a run found its encoders to have in common, kept so that a finished run is found done without embedding.

Keys of cells hold the digest of the common recordings and units, which is known only when every encoder has embedded
the cohort. It depends on the labels and on the encoders alone; so it is kept under a digest of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hypnos_bench import __version__
from hypnos_bench.cohorts.base import Cohort
from hypnos_bench.errors import DataError, IntegrityError
from hypnos_bench.runner.request import Pooling
from hypnos_bench.runner.sources import Source
from hypnos_bench.spec import CELL_SCHEMA, TaskSpec, digest
from hypnos_bench.store.atomic import atomic_write, remove
from hypnos_bench.store.embeddings import EmbeddingStore

_MAX_BYTES = 2**25


@dataclass(frozen=True)
class PlanRecord:
    """What encoders have in common.

    Parameters
    ----------
    common : str
        ``SampleSpec.common`` of the run's cells.
    counts : mapping of str to int
        Recordings and units in common.
    lost : mapping of str to mapping
        ``Source.key`` to what the encoder lost; under ``refused`` the recordings that it could not embed.
    """

    common: str
    counts: Mapping[str, int]
    lost: Mapping[str, Any]


def regained(results: Path, cohort: Cohort, record: PlanRecord, sources: Iterable[Source]) -> bool:
    """Whether a recording has been embedded since that an encoder refused then (``embed --retry``)."""
    store, known = EmbeddingStore(results), {recording.id: recording for recording in cohort.recordings}
    return any(
        store.state(source.card, known[name], cohort.source_fingerprints[name]) == "ok"
        for source in sources
        for name in record.lost.get(source.key, {}).get("refused", ())
        if name in known
    )


class PlanRecords:
    """Records under ``root/plans/<digest>.json``."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "plans"

    @staticmethod
    def key(task: TaskSpec, cohort_part: Mapping[str, Any], several: Sequence[tuple[Source, Pooling]]) -> str:
        """Digest of all that the common recordings and units depend on; the order of encoders is no part of it."""
        encoders = sorted({digest([source.card.definition(), pooling]) for source, pooling in several})
        return digest(
            # The release too: the next one may read what this one refuses.
            {
                "schema": CELL_SCHEMA,
                "version": __version__,
                "task": task.definition(),
                "cohort": dict(cohort_part),
                "encoders": encoders,
            }
        )

    def path(self, key: str) -> Path:
        """Where a record lies."""
        return self.folder / f"{key}.json"

    def get(self, key: str) -> PlanRecord | None:
        """The record, or ``None`` when there is none.

        Raises
        ------
        IntegrityError
            When the file is not a record, or was altered.
        DataError
            When it cannot be read.
        """
        path = self.path(key)
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise _damaged(path)
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); delete it and rerun") from error
        except (ValueError, RecursionError) as error:
            raise _damaged(path) from error
        if not isinstance(content, dict) or set(content) != {"key", "common", "counts", "lost", "sha256"}:
            raise _damaged(path)
        told = {name: value for name, value in content.items() if name != "sha256"}
        if content["key"] != key or content["sha256"] != digest(told):
            raise _damaged(path)
        return PlanRecord(content["common"], content["counts"], content["lost"])

    def save(self, key: str, record: PlanRecord) -> None:
        """Keep a record; one that says the same is left alone."""
        told = {"key": key, **asdict(record)}
        text = json.dumps({**told, "sha256": digest(told)}, indent=1, ensure_ascii=False) + "\n"
        path = self.path(key)
        if not path.is_file() or path.read_bytes() != text.encode():
            atomic_write(path, text.encode())

    def forget(self, key: str) -> None:
        """Delete a record that no longer holds."""
        remove(self.path(key))


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(f"{path}: not a whole record of a plan; delete it and rerun")
