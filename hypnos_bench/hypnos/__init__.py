"""The inference core, usable alone: EDF in, ``{modality: (seconds, dim)}`` out.

Names are imported on first use, so that reading a bundle's description does not import torch's users.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypnos_bench.hypnos.batch import embed_many as embed_many
    from hypnos_bench.hypnos.batch import tokenize_many as tokenize_many
    from hypnos_bench.hypnos.bundle import DEFAULT_REPO as DEFAULT_REPO
    from hypnos_bench.hypnos.bundle import resolve_bundle as resolve_bundle
    from hypnos_bench.hypnos.config import ModalitySpec as ModalitySpec
    from hypnos_bench.hypnos.config import ModelMetadata as ModelMetadata
    from hypnos_bench.hypnos.config import TokenizerSpec as TokenizerSpec
    from hypnos_bench.hypnos.device import pick_device as pick_device
    from hypnos_bench.hypnos.generate import generate_tokens as generate_tokens
    from hypnos_bench.hypnos.generate import synthesize as synthesize
    from hypnos_bench.hypnos.infer import embed as embed
    from hypnos_bench.hypnos.infer import embed_edf as embed_edf
    from hypnos_bench.hypnos.infer import load_model as load_model
    from hypnos_bench.hypnos.infer import tokenize as tokenize
    from hypnos_bench.hypnos.live import StreamingEmbedder as StreamingEmbedder
    from hypnos_bench.hypnos.preprocess import preprocess_channels as preprocess_channels
    from hypnos_bench.hypnos.preprocess import preprocess_edf as preprocess_edf
    from hypnos_bench.hypnos.random_bundle import write_random_bundle as write_random_bundle

_HOME = {
    "DEFAULT_REPO": "bundle",
    "resolve_bundle": "bundle",
    "ModalitySpec": "config",
    "ModelMetadata": "config",
    "TokenizerSpec": "config",
    "embed_many": "batch",
    "tokenize_many": "batch",
    "pick_device": "device",
    "generate_tokens": "generate",
    "synthesize": "generate",
    "embed": "infer",
    "embed_edf": "infer",
    "load_model": "infer",
    "tokenize": "infer",
    "StreamingEmbedder": "live",
    "preprocess_channels": "preprocess",
    "preprocess_edf": "preprocess",
    "write_random_bundle": "random_bundle",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
