"""The frozen tokenizers of Hypnos without its transformer: what the tokens alone are worth.

Two summaries: per second the vector that the codes of all levels stand for, or per epoch how often the codes of the
first level occur. Nothing is learned beyond what the bundle holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hypnos_bench.encoders.base import Embedding, EncoderCard, EncoderOptions, Prepared
from hypnos_bench.encoders.codes import Book, code_groups, code_vectors, shares
from hypnos_bench.encoders.gaps import MAX_OWN_GAPS, Pieces, join
from hypnos_bench.encoders.hypnos import (
    TAU_S,
    HypnosEncoder,
    all_at_once,
    cut_pieces,
    given_bundle,
    modality_channels,
    untrained_bundle,
    weights_sha256,
)
from hypnos_bench.errors import DataError, RecordingError, UsageError
from hypnos_bench.spec import EPOCH_S

if TYPE_CHECKING:
    from hypnos_bench.hypnos.batch import Tokens
    from hypnos_bench.hypnos.tokenizer import SignalTokenizer

SETTINGS: Mapping[str, Sequence[str]] = {
    "kind": ("embedding", "histogram"),
    "join": ("mean", "concat"),  # embedding: how modalities become one row
    "bins": ("64", "16", "32", "128", "256"),  # histogram: per modality
    "weights": ("given", "untrained"),
}
"""Own settings (``--set hypnos-tokens.NAME=VALUE``), the default first."""

Codes = Mapping[str, NDArray[np.int64]]
"""Codes by modality, each of shape (rows, levels)."""


class HypnosTokens(HypnosEncoder):
    """Hypnos up to its tokens: the same channels, filters and tokenizers, and no context across minutes or modalities.

    ``kind=embedding``: per token (a second) the sum of its code vectors over all levels, which is what the decoder of
    the tokenizer is given; averaged over the modalities present, or side by side (``join=concat``), or apart
    (``--per-modality``). ``kind=histogram``: per 30 s and modality the shares of groups of first-level codes.
    """

    id = "hypnos-tokens"
    title = "Hypnos tokens, without the transformer"
    note = (
        "Causal after the first minute, whose signal sets the start values of the running z-score (not with "
        "--zero-phase). A token sees its own second, one sample after it, and what the tokenizer's convolutions and "
        "its windowed attention keep of the seconds before."
    )

    def __init__(self, options: EncoderOptions) -> None:
        super().__init__(options)
        self._chosen = options.choose(self.id, SETTINGS)
        if self._chosen["join"] == "concat" and (options.per_modality or self._histogram):
            instead = "an array per modality was asked for" if options.per_modality else "histograms always are"
            raise UsageError(f"--set {self.id}.join=concat puts modalities side by side, but {instead}; leave it out")

    @property
    def _histogram(self) -> bool:
        return self._chosen["kind"] == "histogram"

    @cached_property
    def card(self) -> EncoderCard:
        """What it is. Reads the weights file once for its hash and codebooks, builds no model.

        Raises
        ------
        DataError
            When the weights are missing, no Hypnos bundle, or their codes cannot be summarised as asked.
        """
        metadata = self._metadata
        if self._histogram:
            summary = {"kind": "histogram", "bins": self._n_bins, "level": 0}
            lacking = (
                "zeros in the histogram. A modality counts in an epoch when at most a tenth of its tokens are missing"
            )
        else:
            joined = "each" if self.options.per_modality else self._chosen["join"]
            summary = {"kind": "embedding", "modalities": joined}
            lacking = "zeros when modalities stand side by side, and takes no part in a mean"
        return EncoderCard(
            id=self.id,
            title=self.title,
            version="1",
            step_s=self._step_s,
            window_s=None,
            causal=not self.options.zero_phase,
            lag_rows=0,
            channels=tuple(modality_channels(metadata)),
            missing=f"an absent or unusable channel gives {lacking}. So does one in the seconds of which more than a "
            "tenth was not recorded; smaller gaps are bridged by a line. Tokens start anew where channels come or go; "
            "rows without any, and stretches below 6 s, are NaN. "
            f"A channel that lacks more than {MAX_OWN_GAPS:.0%} of what others have is left out altogether",
            weights=weights_sha256(self._bundle),
            settings={
                **summary,
                "filters": "zero-phase" if self.options.zero_phase else "causal",
                "tau_s": TAU_S,
                "tokens": "ceil up to 1800 s, floor beyond",
            },
            marks=("untrained",) if metadata.untrained else (),
            licence=self.licence,
            note=self.note,
            pretrained_on=() if metadata.untrained else None,
            dim=self._dim,
            weights_name=self._bundle.name,
        )

    def batch_size(self) -> int:
        """How many recordings to tokenise together: 1, or on CUDA what half of the free memory holds."""
        from hypnos_bench.hypnos.budget import MOST_AT_ONCE, budget_bytes, token_bytes
        from hypnos_bench.hypnos.device import pick_device

        device, metadata = pick_device(self.options.device)[0], self._metadata
        if device.type != "cuda":
            return 1
        stems = [m.tokenizer for m in metadata.modalities]
        fewest_tokens = 64  # a shorter block would be all overhead
        each = max(stems.count(stem) * token_bytes(metadata.tokenizers[stem].config) for stem in stems) * fewest_tokens
        return int(max(1, min(MOST_AT_ONCE, budget_bytes(device) // each)))

    def _encode(self, several: Sequence[Prepared]) -> list[Embedding | RecordingError]:
        from hypnos_bench.hypnos.batch import tokenize_many

        whole = [cut_pieces(prepared, self._metadata) for prepared in several]
        signals = [signals for pieces in whole for signals in pieces.signals]
        found = iter(tokenize_many(self._tokenizers, self._metadata, signals))
        return [
            self._summary(prepared, pieces, [next(found) for _ in pieces.signals])
            for prepared, pieces in zip(several, whole, strict=True)
        ]

    def _summary(
        self, prepared: Prepared, pieces: Pieces, found: Sequence[Tokens | DataError]
    ) -> Embedding | RecordingError:
        bad = [str(part) for part in found if isinstance(part, DataError)]
        if bad or not found:
            reason = bad[0] if bad else "its gaps leave no stretch that is long enough to be tokenised"
            return RecordingError(prepared.recording, reason)
        parts = [self._codes(part) for part in found if not isinstance(part, DataError)]
        if not self._histogram:
            names = list(prepared.arrays) if self.options.per_modality else [self._chosen["join"]]
            arrays = join(pieces, [self._vectors(codes) for codes in parts], names)
            return Embedding(arrays, 0.0, self._step_s, prepared.channels, prepared.skipped)
        shares = self._shares(list(prepared.arrays), pieces, parts)
        if not len(next(iter(shares.values()))):
            return RecordingError(prepared.recording, f"shorter than one epoch of {EPOCH_S:g} s")
        return Embedding(shares, 0.0, EPOCH_S, prepared.channels, prepared.skipped)

    def _codes(self, found: Tokens) -> Codes:
        tokens, mask, _ = found
        rows = zip(self._metadata.modalities, self._metadata.columns, mask[0].tolist(), strict=True)
        return {m.name: tokens[0, :, columns].numpy() for m, columns, there in rows if there}

    def _vectors(self, codes: Codes) -> dict[str, NDArray[np.float16]]:
        """Code vectors of one stretch, under each modality's name or under the one array's name."""
        stem = {m.name: m.tokenizer for m in self._metadata.modalities}
        found = {name: code_vectors(self._books[stem[name]], levels) for name, levels in codes.items()}
        n = len(next(iter(found.values())))
        if self._chosen["join"] == "concat":
            absent = (
                np.zeros((n, self._books[m.tokenizer][0].shape[1]), np.float32) for m in self._metadata.modalities
            )
            sides = [found.get(m.name, zeros) for m, zeros in zip(self._metadata.modalities, absent, strict=True)]
            found = {"concat": np.concatenate(sides, axis=1)}
        elif not self.options.per_modality:
            found = {"mean": np.mean(list(found.values()), axis=0, dtype=np.float32)}
        with np.errstate(over="ignore"):  # found out below
            arrays = {name: vectors.astype(np.float16) for name, vectors in found.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise DataError(f"{self._bundle}: code vectors are too large for float16: the weights are damaged")
        return arrays

    def _shares(self, names: Sequence[str], pieces: Pieces, parts: Sequence[Codes]) -> dict[str, NDArray[np.float32]]:
        """Histograms per epoch, under each modality's name or side by side under ``"histogram"``."""
        per_epoch = self._tokens_per_epoch
        n_rows = pieces.n_rows if pieces.stretches is not None else len(next(iter(parts[0].values())))
        firsts = [0] if pieces.stretches is None else [stretch.first for stretch in pieces.stretches]
        each = {}
        for m in self._metadata.modalities:
            groups = np.full(n_rows, -1, np.int64)
            for first, codes in zip(firsts, parts, strict=True):
                if m.name in codes:
                    levels = codes[m.name]
                    groups[first : first + len(levels)] = self._groups[m.tokenizer][levels[:, 0]]
            each[m.name] = shares(groups, per_epoch, self._n_bins)
        if self.options.per_modality:
            return {name: each[name] for name in names}
        side_by_side = np.concatenate(list(each.values()), axis=1)
        nowhere = np.isnan(side_by_side).all(axis=1)
        filled = np.nan_to_num(side_by_side, nan=0.0)
        filled[nowhere] = np.nan
        return {"histogram": filled}

    def _find_bundle(self) -> Path:
        if self._chosen["weights"] == "untrained":
            return untrained_bundle(self.options.cache)
        return given_bundle(self.options, self.id, HypnosEncoder.id)

    @property
    def _step_s(self) -> float:
        return EPOCH_S if self._histogram else self._metadata.modalities[0].token_duration_sec

    @property
    def _tokens_per_epoch(self) -> int:
        seconds = self._metadata.modalities[0].token_duration_sec
        n = round(EPOCH_S / seconds)
        if n < 1 or abs(n * seconds - EPOCH_S) > 1e-6:
            raise DataError(f"{self._bundle}: tokens of {seconds:g} s do not fill {EPOCH_S:g} s; use kind=embedding")
        return n

    @property
    def _n_bins(self) -> int:
        """Bins per modality, the same for all: a power of two that every first codebook can fill."""
        smallest = min(m.codebook_size for m in self._metadata.modalities)
        return min(int(self._chosen["bins"]), 1 << (smallest.bit_length() - 1))

    @property
    def _dim(self) -> int:
        n = len(self._metadata.modalities)
        if self._histogram:
            return self._n_bins * (1 if self.options.per_modality else n)
        widths = {m.name: self._metadata.tokenizers[m.tokenizer].config.code_dim for m in self._metadata.modalities}
        if self._chosen["join"] == "concat":
            return sum(widths.values())
        if len(set(widths.values())) > 1:
            told = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise DataError(f"{self._bundle}: code vectors differ in width ({told}); use --set {self.id}.join=concat")
        return next(iter(widths.values()))

    @cached_property
    def _books(self) -> dict[str, list[Book]]:
        """Codebooks of all levels by tokenizer; small beside the tokenizers, so that these can come and go."""
        from hypnos_bench.hypnos.bundle import Bundle

        _ = self._dim  # refuses what cannot be summarised before anything is computed
        with Bundle(self._bundle) as bundle:
            return {
                stem: [
                    bundle.weights(f"tok/{stem}/")(f"quantizer.quantizers.{level}.embedding.weight").numpy()
                    for level in range(self._metadata.tokenizers[stem].config.num_quantizers)
                ]
                for stem in self._metadata.unique_tokenizers
            }

    @cached_property
    def _groups(self) -> dict[str, NDArray[np.int64]]:
        return {stem: code_groups(books[0], self._n_bins) for stem, books in self._books.items()}

    @cached_property
    def _tokenizers(self) -> Mapping[str, SignalTokenizer]:
        from hypnos_bench.hypnos.device import pick_device
        from hypnos_bench.hypnos.infer import Tokenizers

        device = pick_device(self.options.device)[0]
        lazy = Tokenizers(self._bundle, self._metadata, device)
        return all_at_once(lazy, self._metadata) if device.type == "cuda" else lazy
