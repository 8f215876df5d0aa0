"""Shares of recordings and cells: the same on every machine, whatever the order and whatever is done already."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from hypnos_bench.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Share `index` (from 1) of `count`."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"2/8"``. Raises ``UsageError`` for anything else."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        if match is None:
            raise UsageError(f"--shard {text}: write I/N, as in 2/8 for the second of eight shares")
        index, count = int(match[1]), int(match[2])
        if not 1 <= index <= count:
            raise UsageError(f"--shard {text}: shares are numbered from 1 to N, so use 1/{max(count, 1)} and up")
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def in_shard(cohort: str, recording: str, shard: Shard) -> bool:
    """Whether a recording belongs to a share."""
    return shard_of_key(f"{cohort}\0{recording}", shard)


def shard_of_key(key: str, shard: Shard) -> bool:
    """Whether the cell of this key, or anything else that is named by a text, belongs to a share."""
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return number % shard.count == shard.index - 1
