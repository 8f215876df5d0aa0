"""What a cell says of who its encoder has seen before; said again, without computing anything, when more is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypnos_bench.exposure import CLEAN, NOT_KNOWN, Exposure
from hypnos_bench.leakage import PRETRAINED_MARK


def stamped(n: Mapping[str, Any], exposure: Exposure, tested: Iterable[str]) -> dict[str, Any]:
    """Counts of a cell with ``exposure``, and with the mark that every number of an exposed encoder carries.

    Parameters
    ----------
    n : mapping
        Counts of a cell, stamped before or not.
    exposure : Exposure
    tested : iterable of str
        Persons of the test side, as far as a failed cell knows them.
    """
    block = {**exposure.block(tested), "digest": exposure.digest}
    seen = [] if block["status"] in (CLEAN, NOT_KNOWN) else [PRETRAINED_MARK]
    marks = [*(mark for mark in n.get("marks", ()) if mark != PRETRAINED_MARK), *seen]
    return {**n, "marks": marks, "exposure": block}


def is_stamped(n: Mapping[str, Any], exposure: Exposure) -> bool:
    """Whether the counts of a cell say what is known now."""
    return bool(n.get("exposure", {}).get("digest") == exposure.digest)
