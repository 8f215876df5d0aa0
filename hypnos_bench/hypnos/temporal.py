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
    rope_table,
)
from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import ModelMetadata
from hypnos_bench.hypnos.linear import frozen, settle

_CPU = torch.device("cpu")


class ModalityLayer(nn.Module):
    """Attention across the modalities of one second, without order other than learned position rows."""

    def __init__(self, weights: Weights, prefix: str, heads: int, *, swiglu: bool, ffn: bool, cross: bool) -> None:
        super().__init__()
        self.cross = cross
        self.position = frozen(weights(f"{prefix}pos_embed.weight"))
        self.attention = Projections(weights, prefix, heads)
        self.ffn = FeedForward(weights, prefix, swiglu=swiglu) if ffn else None

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        """Residual stream `x` (batch, modalities, n, width) after this layer; `rows` are their position rows."""
        x = x + self.position[rows][:, None]  # stays in the stream, as in the published model
        qkv = self.attention.split(x.flatten(0, 1))
        qkv = qkv.view(*x.shape[:2], *qkv.shape[1:])
        v = qkv[..., 2, :, :]  # (batch, modalities, n, heads, head_dim)
        if self.cross:
            q, k, v = (t.permute(0, 2, 3, 1, 4) for t in qkv.unbind(3))  # (batch, n, heads, modalities, head_dim)
            weight = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            h = (weight.float().softmax(-1).to(v.dtype) @ v).permute(0, 3, 1, 2, 4)
        else:
            h = v  # attending to itself alone, a modality gets its own value
        x = self.attention.merge(x, h)
        return x if self.ffn is None else self.ffn(x)


class RQTransformer(nn.Module):
    """Token tables, temporal and modality layers of a bundle; see :class:`Stream` for running it.

    Parameters
    ----------
    metadata : ModelMetadata
    weights : Weights
        Reader of the tensors below ``model/``.
    device, dtype
        Where and in which type the model is to be; layer by layer, so that no second copy is ever held.
    """

    def __init__(
        self,
        metadata: ModelMetadata,
        weights: Weights,
        device: torch.device = _CPU,
        dtype: torch.dtype = torch.float32,
    ) -> None:
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
                tables = (weights(f"token_embeddings.{name}.{k}.weight").to(device, dtype) for k in levels)
                self.tables.append(nn.ParameterList(map(frozen, tables)))
                self.starts.append(frozen(weights(f"bos_embeds.{name}").to(device, dtype)))
        channels = weights("channel_embed.weight").to(device, dtype) if c.channel_embeddings else None
        self.channels = None if channels is None else frozen(channels)
        trunk = "temporal_transformer."
        self.layers, self.modality_layers = nn.ModuleList(), nn.ModuleDict()
        for i in range(c.temporal_depth):
            layer = StreamLayer(
                weights,
                f"{trunk}temporal_layers.{i}.",
                c.temporal_heads,
                c.window(i),
                qk_norm=c.qk_norm,
                swiglu=c.swiglu,
                xsa=c.xsa,
            )
            self.layers.append(settle(layer, device, dtype))
            if c.modality_layer_after(i):
                across = ModalityLayer(
                    weights,
                    f"{trunk}modality_layers.{len(self.modality_layers)}.",
                    c.temporal_heads,
                    swiglu=c.swiglu,
                    ffn=c.modality_use_ffn,
                    cross=not c.disable_cross_modal_attention,
                )
                self.modality_layers[str(i)] = settle(across, device, dtype)
        self.norm = Norm(weights, f"{trunk}norm").to(device, dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.norm.weight.device

    def embed_tokens(self, tokens: Tensor, modality: int) -> Tensor:
        """Sum of the embeddings of a modality's codes, added in level order: (..., K) to (..., embed_dim)."""
        tables = list(self.tables[self.owner[modality]].parameters())
        total = F.embedding(tokens[..., 0], tables[0]).float()
        for k in range(1, tokens.shape[-1]):
            total = total + F.embedding(tokens[..., k], tables[k])
        return total

    def stream(self, present: Sequence[int], channel_ids: Sequence[int], batch: int = 1) -> Stream:
        """Start a stream over the modalities with indices `present`, of channels `channel_ids` (same order)."""
        return Stream(self, present, channel_ids, batch)


class Stream:
    """One pass through time for recordings with the same modalities; use either :meth:`push` or :meth:`advance`.

    Parameters
    ----------
    model : RQTransformer
    present : sequence of int
        Indices of present modalities, ascending.
    channel_ids : sequence of int
        Row of the channel-embedding table per present modality.
    batch : int
        Recordings side by side; one does not see another.
    """

    def __init__(self, model: RQTransformer, present: Sequence[int], channel_ids: Sequence[int], batch: int) -> None:
        self._model = model
        self._present = list(present)
        self._rows = torch.tensor(self._present, dtype=torch.long, device=model.device)
        self._channels = torch.tensor(list(channel_ids), dtype=torch.long, device=model.device).clamp_(min=0)
        self._batch = batch
        self._carries = [Carry() for _ in model.layers]
        self._masks = Masks()
        self._position = 0
        self._last = torch.empty(batch, 0, model.columns[-1].stop, dtype=torch.long, device=model.device)

    @torch.inference_mode()
    def push(self, tokens: Tensor) -> Tensor:
        """Frames of the same seconds.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n, all levels)
            The tokens of these seconds. The last one is first seen by the following frame.

        Returns
        -------
        Tensor of float32, shape (batch, present modalities, n, embed_dim)
        """
        if not tokens.shape[1]:
            return self._frames(tokens, start=False)
        known = torch.cat((self._last, tokens.to(self._last.device)), 1)
        self._last = known[:, -1:]
        return self._frames(known[:, :-1], start=self._position == 0)

    @torch.inference_mode()
    def advance(self, tokens: Tensor) -> Tensor:
        """Frames that follow tokens: one per token, and at the very start the frame before all tokens in front.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n, all levels)

        Returns
        -------
        Tensor of float32, shape (batch, present modalities, n or n + 1, embed_dim)
        """
        return self._frames(tokens.to(self._last.device), start=self._position == 0)

    def _frames(self, seen: Tensor, *, start: bool) -> Tensor:
        """Frames that have seen the tokens before and, one each, `seen`; `start` puts the start embedding in front."""
        model, n = self._model, seen.shape[1] + start
        x = torch.empty(self._batch, len(self._present), n, model.embed_dim, device=model.device)
        for row, modality in enumerate(self._present):
            if start:
                x[:, row, 0] = model.starts[model.owner[modality]]
            x[:, row, start:] = model.embed_tokens(seen[..., model.columns[modality]], modality)
        if model.channels is not None:
            x += model.channels[self._channels][:, None]
        return self._run(x) if n else x

    def _run(self, x: Tensor) -> Tensor:
        model, stop, shape = self._model, self._position + x.shape[2], x.shape
        rope = rope_table(self._position, stop, model.embed_dim // model.config.temporal_heads, x)
        self._position = stop
        for i, layer in enumerate(model.layers):
            x = layer(x.view(-1, *shape[2:]), rope, self._carries[i], self._masks).view(shape)
            if str(i) in model.modality_layers:
                x = model.modality_layers[str(i)](x, self._rows)
        return model.norm.full(x)
