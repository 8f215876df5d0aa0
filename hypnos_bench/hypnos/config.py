"""What a bundle says about itself: modalities, tokenizers and the constructor options of both networks.

Field names follow the published package ``hypnos`` so that scripts written for it keep running. Options
that a bundle leaves out take that package's defaults. Nothing is assumed about sizes.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypnos_bench.errors import DataError
from hypnos_bench.registry import did_you_mean

FORMAT_VERSION = "1"

CHANNEL_ROWS: Mapping[str, int] = {"C3": 0, "C4": 1, "E1": 2, "E2": 3, "Chin": 4, "ECG": 5, "ABD": 6, "THX": 7}
"""Canonical channel to its row in the channel-embedding table."""

# A corrupt or hostile header must not make us enumerate a billion layers.
_MAX_DEPTH = 512
_MAX_SIZE = 2**22

T = TypeVar("T")


@dataclass(frozen=True)
class ModalitySpec:
    """One modality, in the order of its columns in the token tensor."""

    name: str
    signal_type: str
    channels: tuple[str, ...]
    tokenizer: str
    num_quantizers: int
    codebook_size: int
    token_duration_sec: float
    sample_rate: int
    preprocess_modality: str


@dataclass(frozen=True)
class ModelConfig:
    """Constructor options of the temporal RQ-Transformer (and of the depth part, which embedding does not use)."""

    embed_dim: int = 512
    temporal_depth: int = 8
    temporal_heads: int = 8
    temporal_mlp_ratio: float = 4.0
    depth_dim: int | None = None
    depth_depth: int = 4
    depth_heads: int = 4
    depth_mlp_ratio: float = 4.0
    modality_attn_every_n: int = 1
    modality_attn_start_layer: int = 0
    modality_grouping_alpha: float | None = None
    random_subset_masking: bool = False
    modality_dropout_p: float | None = None
    disable_cross_modal_attention: bool = False
    mod_context_dropout_p: float = 0.0
    layer_scale_init: float = 0.01
    max_seq_len: int = 2048
    dropout: float = 0.1
    sliding_window: int | None = None
    global_every_n: int | None = None
    global_window: int | None = None
    use_activation_checkpointing: bool = False
    qk_norm: bool = False
    channel_embeddings: bool = False
    modality_loss_weights: dict[str, float] | None = None
    swiglu: bool = False
    xsa: bool = False
    use_cls: bool = True
    cls_independent_crp: bool = False
    modality_use_ffn: bool = True
    tie_depth_io: bool = False
    share_trunk_depth_emb: bool = False
    causal: bool = True

    @property
    def feedforward(self) -> int:
        """Nominal hidden width of the temporal feed-forward layers (SwiGLU takes two thirds of it)."""
        return int(self.embed_dim * self.temporal_mlp_ratio)

    def window(self, layer: int) -> int | None:
        """Keys that a query of temporal layer `layer` sees, itself included; ``None`` is the whole past."""
        if self.global_every_n is not None and (layer + 1) % self.global_every_n == 0:
            return self.global_window
        return self.sliding_window

    def modality_layer_after(self, layer: int) -> bool:
        """Whether attention across modalities follows temporal layer `layer`."""
        since = layer - self.modality_attn_start_layer
        return since >= 0 and (since + 1) % self.modality_attn_every_n == 0


@dataclass(frozen=True)
class TokenizerConfig:
    """Constructor options of one signal tokenizer."""

    in_channels: int = 12
    sample_rate: int = 128
    token_duration_sec: float = 1.0
    embed_dim: int = 512
    n_filters: int = 64
    ratios: tuple[int, ...] = (4, 4, 4, 4)
    n_residual_layers: int = 1
    dilation_base: int = 1
    mode: str = "discrete"
    codebook_size: int = 512
    codebook_dim: int | None = None
    num_quantizers: int = 4
    commitment_cost: float = 0.25
    quantization_dropout: float = 0.0
    quantizer_dropout: float = 0.0
    ema_decay: float = 0.99
    latent_dim: int | None = None
    attention_depth: int = 0
    attention_heads: int = 8
    window_size: int | None = 250
    transformer_dim_feedforward: int = 2048
    layer_scale_init: float = 0.01
    causal: bool = False
    activation: str = "gelu"
    norm: str | None = "layer"
    last_kernel_size: int = 7
    stride_kernel_multiplier: int = 2
    pad_mode: str = "reflect"
    use_activation_checkpointing: bool = False
    rotation_trick: bool = False

    @property
    def hop(self) -> int:
        """Samples per token."""
        return math.prod(self.ratios)

    @property
    def code_dim(self) -> int:
        """Width of the codebook vectors."""
        return self.embed_dim if self.codebook_dim is None else self.codebook_dim


@dataclass(frozen=True)
class TokenizerSpec:
    """One tokenizer of the bundle; `config` holds `tokenizer_kwargs` completed with the defaults."""

    signal_type: str
    num_quantizers: int
    codebook_size: int
    token_duration_sec: float
    sample_rate: int
    tokenizer_kwargs: Mapping[str, Any]
    config: TokenizerConfig = TokenizerConfig()


@dataclass(frozen=True)
class ModelMetadata:
    """Everything a bundle states about its model.

    Parameters
    ----------
    model_target : str
        Class path in the published package; informative.
    model_kwargs : mapping
        Constructor options as they stand in the file; `config` holds them completed with the defaults.
    modalities : tuple of ModalitySpec
        In the order of the token tensor's columns.
    tokenizers : mapping of str to TokenizerSpec
        By stem.
    untrained : bool
        True when the weights are random and say so.
    """

    model_target: str
    model_kwargs: Mapping[str, Any]
    modalities: tuple[ModalitySpec, ...]
    tokenizers: Mapping[str, TokenizerSpec]
    config: ModelConfig = field(default_factory=ModelConfig)
    untrained: bool = False

    @property
    def unique_tokenizers(self) -> list[str]:
        """Stems in the order in which modalities first use them."""
        return list(dict.fromkeys(m.tokenizer for m in self.modalities))

    @property
    def columns(self) -> tuple[slice, ...]:
        """Columns of each modality in the token tensor."""
        ends = [sum(m.num_quantizers for m in self.modalities[: i + 1]) for i in range(len(self.modalities))]
        return tuple(slice(e - m.num_quantizers, e) for e, m in zip(ends, self.modalities, strict=True))

    @property
    def leaders(self) -> tuple[str, ...]:
        """Per modality, the one whose tables it shares: the first of equal signal type, levels and codebook size."""
        first: dict[tuple[str, int, int], str] = {}
        return tuple(
            first.setdefault((m.signal_type, m.num_quantizers, m.codebook_size), m.name) for m in self.modalities
        )


def parse_config(
    config: Mapping[str, Any], *, where: str = "bundle", file_metadata: Mapping[str, str] | None = None
) -> ModelMetadata:
    """Check a bundle's ``config`` block and complete it with defaults.

    Parameters
    ----------
    config : mapping
        The decoded JSON.
    where : str
        What to call it in messages, usually the file.
    file_metadata : mapping of str to str, optional
        The file's metadata: ``format_version`` and ``untrained`` are read from it.

    Raises
    ------
    DataError
        On anything missing, unknown, inconsistent, or that this package cannot run exactly.
    """
    marks = dict(file_metadata or {})
    version = marks.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise DataError(
            f"{where}: bundle format_version {version!r} is unknown (this release reads {FORMAT_VERSION!r}); "
            "upgrade hypnos-bench"
        )
    model_kwargs = dict(_take(config, "model_kwargs", dict, where))
    if "modality_configs" in model_kwargs:
        raise DataError(f"{where}: model_kwargs must not hold modality_configs; modalities are listed on their own")
    raw_tokenizers = _take(config, "tokenizers", dict, where)
    raw_modalities = _take(config, "modalities", list, where)
    if not raw_modalities:
        raise DataError(f"{where}: the config lists no modalities")
    metadata = ModelMetadata(
        model_target=_take(config, "model_target", str, where),
        model_kwargs=model_kwargs,
        modalities=tuple(_modality(m, f"{where}, modality {i}") for i, m in enumerate(raw_modalities)),
        tokenizers={str(stem): _tokenizer(t, f"{where}, tokenizer {stem!r}") for stem, t in raw_tokenizers.items()},
        config=_build(ModelConfig, model_kwargs, f"{where}, model_kwargs"),
        untrained=marks.get("untrained") == "true",
    )
    _check_model(metadata.config, f"{where}, model_kwargs")
    _check_modalities(metadata, where)
    return metadata


def _modality(raw: Any, where: str) -> ModalitySpec:
    if not isinstance(raw, Mapping):
        raise DataError(f"{where}: not a JSON object")
    spec = ModalitySpec(
        name=_take(raw, "name", str, where),
        signal_type=_take(raw, "signal_type", str, where),
        channels=tuple(_take(raw, "channels", list, where)),
        tokenizer=_take(raw, "tokenizer", str, where),
        num_quantizers=_take(raw, "num_quantizers", int, where),
        codebook_size=_take(raw, "codebook_size", int, where),
        token_duration_sec=_take(raw, "token_duration_sec", float, where),
        sample_rate=_take(raw, "sample_rate", int, where),
        preprocess_modality=_take(raw, "preprocess_modality", str, where),
    )
    if not spec.channels or spec.channels[0] not in CHANNEL_ROWS:
        raise DataError(f"{where} ({spec.name}): channel {spec.channels[:1]} is none of {', '.join(CHANNEL_ROWS)}")
    return spec


def _tokenizer(raw: Any, where: str) -> TokenizerSpec:
    if not isinstance(raw, Mapping):
        raise DataError(f"{where}: not a JSON object")
    kwargs = dict(_take(raw, "tokenizer_kwargs", dict, where))
    if isinstance(kwargs.get("ratios"), list):
        kwargs["ratios"] = tuple(kwargs["ratios"])
    config = _build(TokenizerConfig, kwargs, f"{where}, tokenizer_kwargs")
    spec = TokenizerSpec(
        signal_type=_take(raw, "signal_type", str, where),
        num_quantizers=_take(raw, "num_quantizers", int, where),
        codebook_size=_take(raw, "codebook_size", int, where),
        token_duration_sec=_take(raw, "token_duration_sec", float, where),
        sample_rate=_take(raw, "sample_rate", int, where),
        tokenizer_kwargs=kwargs,
        config=config,
    )
    for name in ("num_quantizers", "codebook_size", "sample_rate", "token_duration_sec"):
        if getattr(spec, name) != getattr(config, name):
            raise DataError(
                f"{where}: {name} is {getattr(spec, name)} for the tokenizer but {getattr(config, name)} "
                "in its tokenizer_kwargs"
            )
    _check_tokenizer(config, where)
    return spec


def _check_tokenizer(c: TokenizerConfig, where: str) -> None:
    _positive(c, ("sample_rate", "embed_dim", "n_filters", "codebook_size", "code_dim", "last_kernel_size"), where)
    _positive(c, ("attention_heads", "transformer_dim_feedforward", "stride_kernel_multiplier"), where)
    _depths({"attention_depth": c.attention_depth, "n_residual_layers": c.n_residual_layers}, where)
    _depths({"num_quantizers": c.num_quantizers, "number of ratios": len(c.ratios)}, where, least=1)
    if c.hop != int(c.sample_rate * c.token_duration_sec):
        raise DataError(
            f"{where}: ratios {list(c.ratios)} make {c.hop} samples per token, "
            f"but {c.token_duration_sec:g} s at {c.sample_rate} Hz are {int(c.sample_rate * c.token_duration_sec)}"
        )
    if c.attention_depth and (c.embed_dim % c.attention_heads or (c.embed_dim // c.attention_heads) % 2):
        raise DataError(
            f"{where}: embed_dim {c.embed_dim} does not divide into {c.attention_heads} heads of even width"
        )
    if c.window_size is not None and c.window_size < 1:
        raise DataError(f"{where}: window_size must be at least 1, not {c.window_size}")
    supported = {
        "mode": (c.mode, ("discrete",)),
        "causal": (c.causal, (True,)),
        "in_channels": (c.in_channels, (1,)),
        "norm": (c.norm, ("weight", "layer", "rms", None)),
        "pad_mode": (c.pad_mode, ("reflect", "constant", "replicate")),
        "activation": (c.activation, ("relu", "leaky", "gelu", "elu", "silu", "swish", "linear")),
    }
    for name, (value, known) in supported.items():
        if value not in known:
            raise DataError(f"{where}: {name}={value!r} cannot be run (supported: {', '.join(map(repr, known))})")


def _check_model(c: ModelConfig, where: str) -> None:
    _positive(c, ("embed_dim", "temporal_heads", "depth_heads", "modality_attn_every_n", "feedforward"), where)
    _positive(c, ("max_seq_len",), where)
    _depths({"temporal_depth": c.temporal_depth, "depth_depth": c.depth_depth}, where)
    if c.embed_dim % c.temporal_heads or (c.embed_dim // c.temporal_heads) % 2:
        raise DataError(f"{where}: embed_dim {c.embed_dim} does not divide into {c.temporal_heads} heads of even width")
    if not c.causal:
        raise DataError(f"{where}: causal=false cannot be run: embeddings are computed as a causal stream")
    if c.modality_attn_start_layer < 0:
        raise DataError(f"{where}: modality_attn_start_layer must not be negative, got {c.modality_attn_start_layer}")
    for name in ("sliding_window", "global_window", "global_every_n", "depth_dim"):
        value = getattr(c, name)
        if value is not None and not 1 <= value <= _MAX_SIZE:
            raise DataError(f"{where}: {name} must be at least 1 or null, not {value}")


def _check_modalities(metadata: ModelMetadata, where: str) -> None:
    names = [m.name for m in metadata.modalities]
    if len(set(names)) != len(names):
        raise DataError(f"{where}: modality names are not unique: {', '.join(names)}")
    durations = sorted({round(m.token_duration_sec, 6) for m in metadata.modalities})
    if len(durations) != 1:
        raise DataError(f"{where}: all modalities must share one token_duration_sec, found {durations}")
    for m in metadata.modalities:
        if len(names) > 1 and not m.signal_type:
            raise DataError(f"{where}: modality {m.name!r} has no signal_type, so its tables cannot be told apart")
        spec = metadata.tokenizers.get(m.tokenizer)
        if spec is None:
            raise DataError(
                f"{where}: modality {m.name!r} asks for tokenizer {m.tokenizer!r}, which the bundle lacks."
                f"{did_you_mean(m.tokenizer, metadata.tokenizers)}"
            )
        for name in ("num_quantizers", "codebook_size", "sample_rate", "token_duration_sec"):
            if getattr(m, name) != getattr(spec, name):
                raise DataError(
                    f"{where}: {name} is {getattr(m, name)} for modality {m.name!r} "
                    f"but {getattr(spec, name)} for its tokenizer {m.tokenizer!r}"
                )


def _positive(config: object, names: tuple[str, ...], where: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not 1 <= value <= _MAX_SIZE:
            raise DataError(f"{where}: {name} must lie between 1 and {_MAX_SIZE}, not {value}")


def _depths(values: Mapping[str, int], where: str, least: int = 0) -> None:
    for name, value in values.items():
        if not least <= value <= _MAX_DEPTH:
            raise DataError(f"{where}: {name} must lie between {least} and {_MAX_DEPTH}, not {value}")


def _build(cls: type[T], kwargs: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name, value in kwargs.items():
        if name not in known:
            raise DataError(f"{where}: unknown option {name!r}.{did_you_mean(name, known)}")
        if not _fits(value, hints[name]):
            raise DataError(f"{where}: {name}={value!r} is not of type {hints[name]}")
    return cls(**kwargs)


def _fits(value: Any, hint: Any) -> bool:
    options = typing.get_args(hint) if typing.get_origin(hint) is not tuple else ()
    if typing.get_origin(hint) is dict:
        return isinstance(value, dict)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(v, int) and v >= 1 for v in value)
    if options:
        return any(_fits(value, option) for option in options)
    if hint is type(None):
        return value is None
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, hint)


def _take(raw: Mapping[str, Any], name: str, kind: type[T], where: str) -> T:
    if name not in raw:
        raise DataError(f"{where}: the config lacks {name!r}")
    value = raw[name]
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not _fits(value, kind):
        raise DataError(f"{where}: {name}={value!r} is not of type {kind.__name__}")
    return float(value) if kind is float else value  # type: ignore[return-value]
