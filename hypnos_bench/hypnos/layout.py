"""Every tensor a bundle may hold: name, shape, and whether embedding or generating needs it.

The loader refuses what is not listed here, reads only what is needed, and the random-weight writer
fills all of it, in this order: another order is another file. Names are those of the published file format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypnos_bench.hypnos.config import CHANNEL_ROWS, ModelConfig, ModelMetadata, TokenizerConfig

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]
ConvSpec = tuple[str, int, int, int, int, int]
"""A convolution: name, channels in, channels out, kernel, stride, dilation."""

TOKENIZER_ROPE_ROWS = 8192


@dataclass(frozen=True)
class Slot:
    """One tensor. An alias holds the same values as `alias_of` (tied weights) and may be absent from a file.

    `needed` is for embedding; `generates` marks what generating signals needs beside it.
    """

    shape: Shape
    needed: bool = False
    generates: bool = False
    alias_of: str | None = None
    dtype: str = "F32"


Layout = dict[str, Slot]


def bundle_layout(metadata: ModelMetadata) -> Layout:
    """Full layout of a bundle: ``model/...`` and ``tok/<stem>/...``; a stem that no modality uses is not needed."""
    layout = {f"model/{name}": _prefixed(slot, "model/") for name, slot in model_layout(metadata).items()}
    used = metadata.unique_tokenizers
    for stem, spec in metadata.tokenizers.items():
        for name, slot in tokenizer_layout(spec.config).items():
            layout[f"tok/{stem}/{name}"] = slot if stem in used else replace(slot, needed=False, generates=False)
    return layout


def model_layout(metadata: ModelMetadata) -> Layout:
    """Tensors of the RQ-Transformer: temporal part (needed), CLS head and depth transformer (for generating)."""
    c, D = metadata.config, metadata.config.embed_dim
    n_modalities = len(metadata.modalities)
    layout: Layout = {}
    tables = [(m.name, m.num_quantizers, m.codebook_size) for m in metadata.modalities if m.name in metadata.leaders]
    for leader, levels, codes in tables:
        layout |= {f"token_embeddings.{leader}.{k}.weight": Slot((codes, D), True) for k in range(levels)}
        layout[f"bos_embeds.{leader}"] = Slot((D,), True)
    if c.channel_embeddings:
        layout["channel_embed.weight"] = Slot((len(CHANNEL_ROWS), D), True)
    trunk = "temporal_transformer."
    layout[f"{trunk}modality_attn_mask"] = Slot((n_modalities, n_modalities), dtype="BOOL")
    layout |= _rope(f"{trunk}rope.", D // c.temporal_heads, c.max_seq_len)
    needed = dict(_norm(f"{trunk}norm", D))
    for i in range(c.temporal_depth):
        needed |= dict(_layer(f"{trunk}temporal_layers.{i}.", D, c.feedforward, c.swiglu))
        if c.qk_norm:
            needed |= {f"{trunk}temporal_layers.{i}.{n}_norm.weight": (D // c.temporal_heads,) for n in "qk"}
    for j in range(sum(map(c.modality_layer_after, range(c.temporal_depth)))):
        prefix = f"{trunk}modality_layers.{j}."
        needed |= dict(_layer(prefix, D, c.feedforward, c.swiglu, ffn=c.modality_use_ffn))
        needed[f"{prefix}pos_embed.weight"] = (n_modalities, D)
    layout |= {name: Slot(shape, True) for name, shape in needed.items()}
    if c.use_cls:
        layout |= {name: Slot(shape, generates=True) for name, shape in _cls_head(f"{trunk}cls_head.", c, n_modalities)}
    return layout | _depth(c, n_modalities, tables)


def tokenizer_layout(c: TokenizerConfig) -> Layout:
    """Tensors of one tokenizer: encoder side (needed), decoder side (for generating), training statistics."""
    needed = dict(_encoder(c))
    generating = dict(_decoder(c))
    statistics: dict[str, Shape] = {}
    layout: Layout = {}
    if c.attention_depth:
        for side, shapes in (("encoder_transformer.", needed), ("decoder_transformer.", generating)):
            layout |= _rope(f"{side}rope.", c.embed_dim // c.attention_heads, TOKENIZER_ROPE_ROWS)
            for i in range(c.attention_depth):
                shapes |= dict(_layer(f"{side}layers.{i}.", c.embed_dim, c.transformer_dim_feedforward, False))
            shapes |= dict(_norm(f"{side}norm", c.embed_dim))
    needed |= {"project_in.weight": (c.code_dim, c.embed_dim), "project_in.bias": (c.code_dim,)}
    generating |= {"project_out.weight": (c.embed_dim, c.code_dim), "project_out.bias": (c.embed_dim,)}
    for k in range(c.num_quantizers):
        level = f"quantizer.quantizers.{k}."
        needed[f"{level}embedding.weight"] = (c.codebook_size, c.code_dim)
        statistics[f"{level}ema_cluster_size"] = (c.codebook_size,)
        statistics[f"{level}ema_embed_sum"] = (c.codebook_size, c.code_dim)
        layout[f"{level}initialized"] = Slot((), dtype="BOOL")
        layout[f"{level}usage_count"] = Slot((c.codebook_size,), dtype="I64")
    layout |= {name: Slot(shape, True) for name, shape in needed.items()}
    layout |= {name: Slot(shape, generates=True) for name, shape in generating.items()}
    return layout | {name: Slot(shape) for name, shape in statistics.items()}


def swiglu_hidden(feedforward: int) -> int:
    """Hidden width of a SwiGLU layer of nominal width `feedforward`."""
    return int(2 * feedforward / 3)


def conv_specs(c: TokenizerConfig) -> Iterator[ConvSpec]:
    """Encoder convolutions in order."""
    width = c.n_filters
    yield "encoder.initial_conv", c.in_channels, width, 7, 1, 1
    for i, ratio in enumerate(c.ratios):
        for j in range(c.n_residual_layers):
            block = f"encoder.stages.{i}.{j}.block"
            yield f"{block}.1", width, width // 2, 3, 1, c.dilation_base**j if c.dilation_base > 1 else 1
            yield f"{block}.3", width // 2, width, 1, 1, 1
        down = f"encoder.stages.{i}.{c.n_residual_layers + 1}"
        yield down, width, 2 * width, ratio * c.stride_kernel_multiplier, ratio, 1
        width *= 2
    yield "encoder.final_conv", width, c.embed_dim, c.last_kernel_size, 1, 1


def decoder_specs(c: TokenizerConfig) -> Iterator[tuple[bool, ConvSpec]]:
    """Decoder convolutions in order, and whether each is transposed (then its stride is upsampling)."""
    width = c.n_filters * 2 ** len(c.ratios)
    yield False, ("decoder.initial_conv", c.embed_dim, width, 7, 1, 1)
    for i, ratio in enumerate(reversed(c.ratios)):
        half = width // 2
        yield True, (f"decoder.stages.{i}.1", width, half, ratio * c.stride_kernel_multiplier, ratio, 1)
        for j in range(c.n_residual_layers):
            block = f"decoder.stages.{i}.{j + 2}.block"
            yield False, (f"{block}.1", half, half // 2, 3, 1, c.dilation_base**j if c.dilation_base > 1 else 1)
            yield False, (f"{block}.3", half // 2, half, 1, 1, 1)
        width = half
    yield False, ("decoder.final_conv", width, c.in_channels, 7, 1, 1)


def decoder_norm(name: str, c: TokenizerConfig) -> str | None:
    """Norm of a decoder convolution: the last one, which makes the signal, has none."""
    return None if name == "decoder.final_conv" else c.norm


def _encoder(c: TokenizerConfig) -> Named:
    for name, n_in, n_out, kernel, _, _ in conv_specs(c):
        yield from _conv(name, (n_out, n_in, kernel), n_out, c.norm)


def _decoder(c: TokenizerConfig) -> Named:
    for transposed, (name, n_in, n_out, kernel, _, _) in decoder_specs(c):
        # A transposed convolution stores its weight as (in, out, kernel).
        weight = (n_in, n_out, kernel) if transposed else (n_out, n_in, kernel)
        yield from _conv(name, weight, n_out, decoder_norm(name, c))


def _conv(name: str, weight: Shape, n_out: int, norm: str | None) -> Named:
    yield f"{name}.conv.bias", (n_out,)
    if norm == "weight":
        yield f"{name}.conv.parametrizations.weight.original0", (weight[0], 1, 1)
        yield f"{name}.conv.parametrizations.weight.original1", weight
        return
    yield f"{name}.conv.weight", weight
    if norm in ("layer", "rms"):
        yield f"{name}.norm.weight", (1, n_out, 1)
    if norm == "layer":
        yield f"{name}.norm.bias", (1, n_out, 1)


def _norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _ffn(prefix: str, width: int, feedforward: int, swiglu: bool) -> Named:
    if swiglu:
        hidden = swiglu_hidden(feedforward)
        yield f"{prefix}ffn.w_gate.weight", (hidden, width)
        yield f"{prefix}ffn.w_up.weight", (hidden, width)
        yield f"{prefix}ffn.w_down.weight", (width, hidden)
        return
    yield f"{prefix}ffn.0.weight", (feedforward, width)
    yield f"{prefix}ffn.0.bias", (feedforward,)
    yield f"{prefix}ffn.2.weight", (width, feedforward)
    yield f"{prefix}ffn.2.bias", (width,)


def _projections(prefix: str, width: int) -> Named:
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield f"{prefix}{name}.weight", (width, width)


def _layer(prefix: str, width: int, feedforward: int, swiglu: bool, *, ffn: bool = True, scales: bool = True) -> Named:
    yield from _norm(f"{prefix}norm1", width)
    yield from _projections(prefix, width)
    if scales:
        yield f"{prefix}layer_scale_attn", (width,)
    if ffn:
        yield from _norm(f"{prefix}norm2", width)
        yield from _ffn(prefix, width, feedforward, swiglu)
        if scales:
            yield f"{prefix}layer_scale_ffn", (width,)


def _cls_head(prefix: str, c: ModelConfig, n_modalities: int) -> Named:
    D = c.embed_dim
    yield f"{prefix}cls_embed", (1, 1, 1, D)
    yield f"{prefix}modality_id_embed.weight", (n_modalities, D)
    for name in ("norm_q", "norm_kv", "norm_ffn"):
        yield from _norm(f"{prefix}{name}", D)
    yield from _projections(prefix, D)
    yield from _ffn(prefix, D, c.feedforward, c.swiglu)
    yield f"{prefix}layer_scale_attn", (D,)
    yield f"{prefix}layer_scale_ffn", (D,)


def _depth(c: ModelConfig, n_modalities: int, tables: list[tuple[str, int, int]]) -> Layout:
    D, W = c.embed_dim, c.depth_dim or c.embed_dim
    p = "depth_transformer."
    shapes: dict[str, Shape] = {
        f"{p}modality_embeddings": (n_modalities, W),
        f"{p}pos_embed.weight": (max(levels for _, levels, _ in tables), W),
        **dict(_norm(f"{p}norm", W)),
    }
    if c.use_cls and c.mod_context_dropout_p > 0:
        shapes[f"{p}null_mod_ctx"] = (W,)
    if D != W:
        for name in ("context_proj", "cls_context_proj") if c.use_cls else ("context_proj",):
            shapes |= {f"{p}{name}.weight": (W, D), f"{p}{name}.bias": (W,)}
    for i in range(c.depth_depth):
        shapes |= dict(_layer(f"{p}layers.{i}.", W, int(W * c.depth_mlp_ratio), c.swiglu, scales=False))
    # The null context replaces a frame in training only.
    layout = {name: Slot(shape, generates=name != f"{p}null_mod_ctx") for name, shape in shapes.items()}
    for leader, levels, codes in tables:
        if c.share_trunk_depth_emb:
            layout[f"trunk_to_depth_proj.{leader}.weight"] = Slot((W, D), generates=True)
        if c.share_trunk_depth_emb and c.tie_depth_io:
            layout[f"depth_to_trunk_proj.{leader}.weight"] = Slot((D, W), generates=True)
        for k in range(levels):
            layout |= _depth_tables(c, leader, k, codes)
    return layout


def _depth_tables(c: ModelConfig, leader: str, k: int, codes: int) -> Layout:
    D, W = c.embed_dim, c.depth_dim or c.embed_dim
    trunk = f"token_embeddings.{leader}.{k}.weight"
    table = f"depth_transformer.per_group_embeddings.{leader}.{k}"
    head = f"depth_transformer.per_group_output_heads.{leader}.{k}"
    layout = {f"{head}.bias": Slot((codes,), generates=True)}
    if c.share_trunk_depth_emb:
        layout[f"{table}.trunk_emb.weight"] = _tied((codes, D), trunk)
        layout[f"{table}.proj.weight"] = _tied((W, D), f"trunk_to_depth_proj.{leader}.weight")
    else:
        layout[f"{table}.weight"] = _tied((codes, W), trunk if D == W and not c.tie_depth_io else None)
    if c.share_trunk_depth_emb and c.tie_depth_io:
        layout[f"{head}.trunk_emb.weight"] = _tied((codes, D), trunk)
        layout[f"{head}.down_proj.weight"] = _tied((D, W), f"depth_to_trunk_proj.{leader}.weight")
    else:
        layout[f"{head}.weight"] = _tied((codes, W), f"{table}.weight" if c.tie_depth_io else None)
    return layout


def _tied(shape: Shape, owner: str | None) -> Slot:
    """A tensor for generating, read from its owner when it has one."""
    return Slot(shape, generates=owner is None, alias_of=owner)


def _rope(prefix: str, head_dim: int, rows: int) -> Layout:
    return {
        f"{prefix}freqs": Slot((head_dim // 2,)),
        f"{prefix}cos_cached": Slot((rows, head_dim // 2)),
        f"{prefix}sin_cached": Slot((rows, head_dim // 2)),
    }


def _prefixed(slot: Slot, prefix: str) -> Slot:
    return slot if slot.alias_of is None else replace(slot, alias_of=prefix + slot.alias_of)
