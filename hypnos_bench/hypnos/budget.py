"""How much to compute at once: blocks of seconds, and recordings side by side, by device and free memory."""

from __future__ import annotations

import torch

from hypnos_bench.hypnos.config import ModelMetadata, TokenizerConfig
from hypnos_bench.hypnos.layout import conv_specs, swiglu_hidden
from hypnos_bench.hypnos.temporal import RQTransformer
from hypnos_bench.hypnos.tokenizer import BLOCK_TOKENS as TOKENIZER_BLOCK_TOKENS
from hypnos_bench.hypnos.tokenizer import SignalTokenizer

BLOCK_TOKENS = {"cpu": 64, "cuda": 128, "mps": 128}
"""Seconds per block: short ones waste little attention on keys outside the window; recordings give enough rows."""

MOST_AT_ONCE = 32
"""Recordings beyond this make no product faster, and cost memory."""

_TOKENIZER_BLOCK = (64, 512)  # fewest and most tokens on CUDA
# Of the free memory; the rest is for tokens, for workspace of the libraries, and for what fragmentation takes.
_SHARE = 0.5


def recordings_at_once(model: RQTransformer, metadata: ModelMetadata, chunk_tokens: int | None = None) -> int:
    """How many recordings to embed together: 1, or on CUDA what half of the free memory holds, 32 at most."""
    if model.device.type != "cuda":
        return 1
    each = recording_bytes(metadata, model.norm.weight.element_size(), chunk_tokens)
    return max(1, min(MOST_AT_ONCE, budget_bytes(model.device) // each))


def tokenizer_block(tokenizer: SignalTokenizer, n_signals: int) -> int:
    """Seconds of `n_signals` to tokenize together; on CUDA what half of the free memory holds, 64 to 512."""
    if tokenizer.device.type != "cuda":
        return TOKENIZER_BLOCK_TOKENS[tokenizer.device.type]
    fitting = budget_bytes(tokenizer.device) // (n_signals * token_bytes(tokenizer.config))
    fewest, most = _TOKENIZER_BLOCK
    return max(fewest, min(most, fitting))


def recording_bytes(metadata: ModelMetadata, item_bytes: int, chunk_tokens: int | None = None) -> int:
    """Device memory that a recording with all modalities needs beside others while a block of them is computed.

    Parameters
    ----------
    metadata : ModelMetadata
    item_bytes : int
        Bytes per number of the temporal model: 4 or 2.
    chunk_tokens : int, optional
        Bounds the past that a layer without a window keeps.
    """
    c, block = metadata.config, BLOCK_TOKENS["cuda"]
    hidden = swiglu_hidden(c.feedforward) if c.swiglu else c.feedforward
    # The stream and its normalised copies, q k v and their rotation in float32; gate, its activation, their product.
    row = (40 + 5 * item_bytes) * c.embed_dim + 3 * item_bytes * hidden
    kept = sum(block + (c.window(i) or chunk_tokens or 0) for i in range(c.temporal_depth))
    temporal = len(metadata.modalities) * (block * row + kept * 2 * item_bytes * c.embed_dim)
    stems = [m.tokenizer for m in metadata.modalities]
    tokens = {stem: stems.count(stem) * token_bytes(metadata.tokenizers[stem].config) for stem in stems}
    return max(temporal, _TOKENIZER_BLOCK[0] * max(tokens.values()))


def token_bytes(c: TokenizerConfig) -> int:
    """Memory per token of one signal in the widest convolution: its input, what the kernel sees, its output."""
    samples, widest = c.hop, 0
    for _, n_in, n_out, kernel, stride, _ in conv_specs(c):
        steps = samples // stride
        widest = max(widest, 4 * samples * n_in + steps * kernel * n_in + steps * n_out)
        samples = steps
    return 4 * widest


def budget_bytes(device: torch.device) -> int:
    """Memory of a CUDA device to plan with: half of what is free, or kept by PyTorch for later."""
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE * (free + cached))
