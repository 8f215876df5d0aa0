"""The temporal RQ-Transformer as a stream: tokens of all present modalities in, one frame per token out.

Frame t of a stream has seen tokens 0..t-1 (frame 0 only the start embedding). A stream carries keys
and values, so memory does not grow with the recording. Modalities that are absent are not computed;
those present keep their own rows of the position tables, which makes that exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.hypnos.attention import (
    Carry,
    FeedForward,
    Masks,
    Norm,
    Projections,
    StreamLayer,
    add_linear,
    frozen,
    rope_table,
)
from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import ModelMetadata


class ModalityLayer(nn.Module):
    """Attention across the modalities of one second, without order other than learned position rows."""

    def __init__(self, weights: Weights, prefix: str, heads: int, *, swiglu: bool, ffn: bool, cross: bool) -> None:
        super().__init__()
        self.cross = cross
        self.position = frozen(weights(f"{prefix}pos_embed.weight"))
        self.attention = Projections(weights, prefix, heads, rotary=False)
        self.ffn = FeedForward(weights, prefix, swiglu=swiglu) if ffn else None

    def forward(self, x: Tensor, rows: Tensor) -> None:
        """Update the residual stream `x` (modalities, n, width) in place; `rows` are their position rows."""
        x.add_(self.position[rows][:, None])  # stays in the stream, as in the published model
        q, k, v = self.attention.split(x)  # (modalities, n, heads, head_dim)
        if self.cross:
            q, k, v = (t.permute(1, 2, 0, 3) for t in (q, k, v))  # (n, heads, modalities, head_dim)
            weight = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            h = (weight.float().softmax(-1).to(v.dtype) @ v).permute(2, 0, 1, 3)
        else:
            h = v  # attending to itself alone, a modality gets its own value
        add_linear(x, h.flatten(-2), self.attention.out)
        if self.ffn is not None:
            self.ffn(x)


class RQTransformer(nn.Module):
    """Token tables, temporal and modality layers of a bundle; see :class:`Stream` for running it.

    Parameters
    ----------
    metadata : ModelMetadata
    weights : Weights
        Reader of the tensors below ``model/``.
    """

    def __init__(self, metadata: ModelMetadata, weights: Weights) -> None:
        super().__init__()
        c = self.config = metadata.config
        self.embed_dim = c.embed_dim
        self.columns = metadata.columns
        self.codebook_sizes = tuple(m.codebook_size for m in metadata.modalities)
        owners = list(dict.fromkeys(metadata.leaders))
        self.owner = tuple(owners.index(leader) for leader in metadata.leaders)
        self.tables, self.starts = nn.ModuleList(), nn.ParameterList()
        for name, columns in zip(metadata.leaders, metadata.columns, strict=True):
            if len(self.tables) < len(owners) and name == owners[len(self.tables)]:
                levels = range(columns.stop - columns.start)
                self.tables.append(
                    nn.ParameterList(frozen(weights(f"token_embeddings.{name}.{k}.weight")) for k in levels)
                )
                self.starts.append(frozen(weights(f"bos_embeds.{name}")))
        self.channels = frozen(weights("channel_embed.weight")) if c.channel_embeddings else None
        trunk = "temporal_transformer."
        self.layers, self.modality_layers = nn.ModuleList(), nn.ModuleDict()
        for i in range(c.temporal_depth):
            self.layers.append(
                StreamLayer(
                    weights,
                    f"{trunk}temporal_layers.{i}.",
                    c.temporal_heads,
                    c.window(i),
                    qk_norm=c.qk_norm,
                    swiglu=c.swiglu,
                    xsa=c.xsa,
                )
            )
            if c.modality_layer_after(i):
                self.modality_layers[str(i)] = ModalityLayer(
                    weights,
                    f"{trunk}modality_layers.{len(self.modality_layers)}.",
                    c.temporal_heads,
                    swiglu=c.swiglu,
                    ffn=c.modality_use_ffn,
                    cross=not c.disable_cross_modal_attention,
                )
        self.norm = Norm(weights, f"{trunk}norm")

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.norm.weight.device

    def embed_tokens(self, tokens: Tensor, modality: int) -> Tensor:
        """Sum of the embeddings of a modality's codes, added in level order: (n, K) to (n, embed_dim)."""
        tables = list(self.tables[self.owner[modality]].parameters())
        total = F.embedding(tokens[:, 0], tables[0]).float()
        for k in range(1, tokens.shape[1]):
            total = total + F.embedding(tokens[:, k], tables[k])
        return total

    def stream(self, present: Sequence[int], channel_ids: Sequence[int]) -> Stream:
        """Start a stream over the modalities with indices `present`, of channels `channel_ids` (same order)."""
        return Stream(self, present, channel_ids)


class Stream:
    """One pass through time: give tokens block by block, get the frames of the same seconds.

    Parameters
    ----------
    model : RQTransformer
    present : sequence of int
        Indices of present modalities, ascending.
    channel_ids : sequence of int
        Row of the channel-embedding table per present modality.
    """

    def __init__(self, model: RQTransformer, present: Sequence[int], channel_ids: Sequence[int]) -> None:
        self._model = model
        self._present = list(present)
        self._rows = torch.tensor(self._present, dtype=torch.long, device=model.device)
        self._channels = torch.tensor(list(channel_ids), dtype=torch.long, device=model.device).clamp_(min=0)
        self._carries = [Carry() for _ in model.layers]
        self._masks = Masks()
        self._position = 0
        self._last: Tensor | None = None

    @torch.inference_mode()
    def push(self, tokens: Tensor) -> Tensor:
        """Frames of the next seconds.

        Parameters
        ----------
        tokens : Tensor of int64, shape (n, all levels)
            The tokens of these seconds. The last row is first seen by the following frame.

        Returns
        -------
        Tensor of float32, shape (present modalities, n, embed_dim)
        """
        model = self._model
        tokens = tokens.to(model.device)
        x = torch.empty(len(self._present), len(tokens), model.embed_dim, device=model.device)
        seen = tokens[:-1] if self._last is None else torch.cat((self._last, tokens[:-1]))
        for row, modality in enumerate(self._present):
            if self._last is None:
                x[row, 0] = model.starts[model.owner[modality]]
            x[row, len(tokens) - len(seen) :] = model.embed_tokens(seen[:, model.columns[modality]], modality)
        if model.channels is not None:
            x += model.channels[self._channels][:, None]
        self._last = tokens[-1:]
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        model, stop = self._model, self._position + x.shape[1]
        rope = rope_table(self._position, stop, model.embed_dim // model.config.temporal_heads, x)
        self._position = stop
        for i, layer in enumerate(model.layers):
            layer(x, rope, self._carries[i], self._masks)
            if str(i) in model.modality_layers:
                model.modality_layers[str(i)](x, self._rows)
        return model.norm.full(x)
