"""The depth transformer: from one frame per modality to the codes of the next second, level by level.

Level k sees the frame and the codes of the levels below, so the keys and values of those are carried, and nothing is
computed twice. Given their frames, modalities are independent of each other: all of them take each level together,
which reads the weights once instead of once per modality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.attention import FeedForward, Norm, Projections
from hypnos_bench.hypnos.bundle import Weights
from hypnos_bench.hypnos.config import ModelConfig, ModelMetadata
from hypnos_bench.hypnos.linear import Linear, frozen
from hypnos_bench.hypnos.temporal import RQTransformer

_DEPTH = "depth_transformer."
_LOWEST_TEMPERATURE = 1e-6  # logits divided by less may be infinite


@dataclass(frozen=True)
class Sampling:
    """How a code is drawn from its logits.

    Parameters
    ----------
    temperature : float
        Divides the logits; at 0 or below the most likely code is taken and nothing is drawn.
    top_k : int
        Keep the k largest logits, and those equal to the k-th; 0 or below keeps all.
    top_p : float
        Keep the most likely codes until their probabilities exceed this; outside of (0, 1) all are kept.

    Raises
    ------
    UsageError
        When a value is no finite number, `top_k` is not whole, or `temperature` lies between 0 and 1e-6.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 0.95

    def __post_init__(self) -> None:
        for name, value in (("temperature", self.temperature), ("top_p", self.top_p)):
            if not _is_finite(value):
                raise UsageError(f"{name} must be a finite number, not {value!r}")
        if not _is_whole(self.top_k):
            raise UsageError(f"top_k must be a whole number, not {self.top_k!r}")
        if 0 < self.temperature < _LOWEST_TEMPERATURE:
            least = f"at least {_LOWEST_TEMPERATURE:g}, or 0 for the most likely code"
            raise UsageError(f"temperature must be {least}, not {self.temperature!r}")

    @property
    def greedy(self) -> bool:
        """Whether no random numbers are used."""
        return self.temperature <= 0

    def pick(self, logits: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Codes (rows,) from logits (rows, codes), and their scores, which are finite if the logits are sound.

        `noise` is exponential: the largest ratio of probability to noise is how ``torch.multinomial`` draws one sample.
        """
        scores = logits if noise is None else self._probabilities(logits) / noise
        codes = scores.argmax(-1)
        return codes, scores.gather(-1, codes[:, None])[:, 0]

    def _probabilities(self, logits: Tensor) -> Tensor:
        logits = logits / self.temperature
        if self.top_k > 0:
            least = logits.topk(min(self.top_k, logits.shape[-1]), -1).values[:, -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        if 0 < self.top_p < 1:
            falling, places = logits.sort(-1, descending=True)
            mass = falling.softmax(-1)
            falling = falling.masked_fill(mass.cumsum(-1) - mass > self.top_p, float("-inf"))
            logits = torch.empty_like(logits).scatter_(-1, places, falling)
        return logits.softmax(-1)


class DepthTransformer(nn.Module):
    """Codes of one second for the modalities asked for.

    Parameters
    ----------
    trunk : RQTransformer
        Its token tables are used where the bundle shares them.
    metadata : ModelMetadata
    weights : Weights
        Reader of the tensors below ``model/``, of a bundle opened for generating.
    present : sequence of int
        Indices of the modalities to generate, ascending.

    Raises
    ------
    DataError
        When the config's ``depth_heads`` does not divide its ``depth_dim``.
    """

    _order: Tensor

    def __init__(self, trunk: RQTransformer, metadata: ModelMetadata, weights: Weights, present: Sequence[int]) -> None:
        super().__init__()
        c = metadata.config
        width = c.depth_dim or c.embed_dim
        if width % c.depth_heads:
            uneven = f"depth_heads {c.depth_heads} does not divide depth_dim {width}"
            raise DataError(f"model_kwargs: {uneven}; this bundle can embed but not generate")
        self._sizes = [(m.num_quantizers, m.codebook_size) for m in metadata.modalities]
        # Most levels first: those that still take part in a level are then the first rows.
        leaders = list(dict.fromkeys(metadata.leaders[m] for m in present))
        members = {leader: [m for m in present if metadata.leaders[m] == leader] for leader in leaders}
        leaders.sort(key=lambda leader: -self._sizes[members[leader][0]][0])
        self.groups, rows = nn.ModuleList(), 0
        for leader in leaders:
            tables = list(trunk.tables[trunk.owner[members[leader][0]]].parameters())
            self.groups.append(_Group(metadata, weights, leader, members[leader], rows, tables))
            rows += len(members[leader])
        ordered = [m for leader in leaders for m in members[leader]]
        self.register_buffer("_order", torch.tensor([list(present).index(m) for m in ordered]))
        self.modalities = frozen(weights(f"{_DEPTH}modality_embeddings")[ordered])
        self.positions = frozen(weights(f"{_DEPTH}pos_embed.weight"))
        self.cls = _ClsHead(c, weights, ordered) if c.use_cls else None
        self.context = _projection(c, weights, "context_proj")
        self.cls_context = _projection(c, weights, "cls_context_proj") if c.use_cls else None
        self.layers = nn.ModuleList(
            _DepthLayer(weights, f"{_DEPTH}layers.{i}.", c.depth_heads, swiglu=c.swiglu) for i in range(c.depth_depth)
        )
        self.norm = Norm(weights, f"{_DEPTH}norm")
        self._n_columns = metadata.columns[-1].stop

    @torch.inference_mode()
    def sample(self, frames: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> Tensor:
        """Codes of the second that follows the frames.

        Parameters
        ----------
        frames : Tensor of float32, shape (modalities asked for, embed_dim)
            In the order of `present`.
        sampling : Sampling
        generator : torch.Generator, optional
            Random numbers are drawn in the order of all the bundle's modalities, then levels. They are drawn for
            modalities not asked for too: a seed then gives the draws that it gives in the published package.

        Returns
        -------
        Tensor of int64, shape (all levels,)
            Zeros for modalities not asked for.

        Raises
        ------
        DataError
            When the weights give values that are not finite.
        """
        noise = None if sampling.greedy else self._noise(generator, frames.device)
        condition = self._condition(frames[self._order])
        codes = torch.zeros(self._n_columns, dtype=torch.long, device=frames.device)
        below = torch.zeros_like(condition)  # embeddings of the codes of lower levels
        pasts: list[Tensor | None] = [None for _ in self.layers]
        scores = []
        groups = [group for group in self.groups if isinstance(group, _Group)]
        for level in range(groups[0].levels):
            active = [group for group in groups if level < group.levels]
            n = active[-1].rows.stop
            x = (condition[:n] + below[:n] + self.positions[level])[:, None]
            for i, layer in enumerate(self.layers):
                x, pasts[i] = layer(x, pasts[i])
            hidden = self.norm(x[:, 0])
            for group in active:
                draws = None if noise is None else torch.stack([noise[m][level] for m in group.members])
                chosen, score = sampling.pick(group.logits(level, hidden[group.rows]), draws)
                codes[group.starts + level] = chosen
                scores.append(score)
                if level + 1 < group.levels:
                    below[group.rows] += group.embed(level, chosen)
        if not bool(torch.cat(scores).isfinite().all()):
            raise DataError("the depth transformer gives values that are not finite: the weights are damaged")
        return codes

    def _condition(self, frames: Tensor) -> Tensor:
        condition = _projected(self.context, frames) + self.modalities
        if self.cls is not None:
            condition = condition + _projected(self.cls_context, self.cls(frames))
        return condition

    def _noise(self, generator: torch.Generator | None, device: torch.device) -> list[list[Tensor]]:
        """Exponential noise per modality and level, drawn in that order."""
        return [
            [torch.empty(codes, device=device).exponential_(generator=generator) for _ in range(levels)]
            for levels, codes in self._sizes
        ]


class _DepthLayer(nn.Module):
    """Pre-norm transformer layer over levels: plain attention, no rotation, no scales."""

    def __init__(self, weights: Weights, prefix: str, heads: int, *, swiglu: bool) -> None:
        super().__init__()
        self.attention = Projections(weights, prefix, heads, scaled=False)
        self.ffn = FeedForward(weights, prefix, swiglu=swiglu, scaled=False)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """One level `x` (rows, 1, width) after this layer, and the keys and values so far for the next level.

        `past` (rows or more, levels, 2, heads, head_dim) may hold rows of modalities that have no further level.
        """
        qkv = self.attention.split(x)
        known = qkv[:, :, 1:] if past is None else torch.cat((past[: len(x)], qkv[:, :, 1:]), 1)
        q, (keys, values) = qkv[:, :, 0], known.unbind(2)
        h = F.scaled_dot_product_attention(q.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2))
        out: Tensor = self.ffn(self.attention.merge(x, h.transpose(1, 2)))
        return out, known


class _Group(nn.Module):
    """Code embeddings and output heads of modalities that share their tables.

    A bundle keeps own tables per level; or takes the trunk's, directly when the widths agree or through a projection
    (``share_trunk_depth_emb``). With ``tie_depth_io`` the embeddings are the heads' weights too.
    """

    starts: Tensor

    def __init__(
        self,
        metadata: ModelMetadata,
        weights: Weights,
        leader: str,
        members: list[int],
        first_row: int,
        trunk: list[nn.Parameter],
    ) -> None:
        super().__init__()
        c = metadata.config
        self.members, self.levels = members, len(trunk)
        self.rows = slice(first_row, first_row + len(members))
        self.register_buffer("starts", torch.tensor([metadata.columns[m].start for m in members]))
        share, tie = c.share_trunk_depth_emb, c.tie_depth_io
        own = not share and (tie or (c.depth_dim or c.embed_dim) != c.embed_dim)

        def table(level: int) -> Tensor:
            name = f"{_DEPTH}per_group_embeddings.{leader}.{level}.weight"
            return weights(name if own else f"token_embeddings.{leader}.{level}.weight")

        self._trunk: list[Tensor] = [*trunk]  # a list: these parameters stay the trunk's
        # The last level's code is embedded by nobody.
        self.own = nn.ParameterList(frozen(table(k)) for k in range(self.levels - 1)) if own else None
        self.up = Linear(weights(f"trunk_to_depth_proj.{leader}.weight")) if share else None
        self.down = Linear(weights(f"depth_to_trunk_proj.{leader}.weight")) if share and tie else None
        self.heads = nn.ModuleList()
        for k in range(self.levels):
            head = f"{_DEPTH}per_group_output_heads.{leader}.{k}."
            self.heads.append(Linear(table(k) if tie else weights(f"{head}weight"), weights(f"{head}bias")))

    def embed(self, level: int, codes: Tensor) -> Tensor:
        """Embeddings (rows, depth width) of a level's codes."""
        tables = self._trunk if self.own is None else self.own
        return _projected(self.up, F.embedding(codes, tables[level]).float())

    def logits(self, level: int, hidden: Tensor) -> Tensor:
        """Logits (rows, codes) of a level."""
        logits: Tensor = self.heads[level](_projected(self.down, hidden))
        return logits


class _ClsHead(nn.Module):
    """One learned query over the modalities of a second: a summary that conditions all of them.

    Without attention across modalities each one is summarised alone.
    """

    def __init__(self, c: ModelConfig, weights: Weights, modalities: list[int]) -> None:
        super().__init__()
        head = "temporal_transformer.cls_head."
        self._cross, self._heads = not c.disable_cross_modal_attention, c.temporal_heads
        self.query = frozen(weights(f"{head}cls_embed").reshape(1, -1))
        self.modality = frozen(weights(f"{head}modality_id_embed.weight")[modalities])
        self.norm_q, self.norm_kv = Norm(weights, f"{head}norm_q"), Norm(weights, f"{head}norm_kv")
        self.q, self.k, self.v = (Linear(weights(f"{head}{name}_proj.weight")) for name in "qkv")
        scale = weights(f"{head}layer_scale_attn")
        self.out = Linear(weights(f"{head}out_proj.weight").mul_(scale[:, None]))
        # The same part as in every layer, with a norm of another name.
        self.ffn = FeedForward(
            lambda name: weights(name.replace(f"{head}norm2", f"{head}norm_ffn")), head, swiglu=c.swiglu
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Summaries (modalities, width) of frames (modalities, width)."""
        source = self.norm_kv(frames + self.modality)
        v = self.v(source)
        if self._cross:
            parts = (self.q(self.norm_q(self.query)), self.k(source), v)
            q, k, v = (t.view(len(t), self._heads, -1).transpose(0, 1) for t in parts)
            v = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
        summary: Tensor = self.ffn(self.out(v) + self.query)
        return summary.expand(len(frames), -1)


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral)


def _projection(c: ModelConfig, weights: Weights, name: str) -> Linear | None:
    """From the temporal width to the depth width, where they differ."""
    if (c.depth_dim or c.embed_dim) == c.embed_dim:
        return None
    return Linear(weights(f"{_DEPTH}{name}.weight"), weights(f"{_DEPTH}{name}.bias"))


def _projected(projection: Linear | None, x: Tensor) -> Tensor:
    return x if projection is None else projection(x)
