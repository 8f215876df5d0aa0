"""The list of tensors, against the state dicts of the published package."""

import pytest
import torch

from hypnos_bench.hypnos.config import parse_config
from hypnos_bench.hypnos.layout import model_layout, tokenizer_layout

DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL"}

MODELS = {
    "plain": {},
    "gelu": {"swiglu": False, "qk_norm": False},
    "cls": {"use_cls": True, "channel_embeddings": False},
    "cls-dropout": {"use_cls": True, "mod_context_dropout_p": 0.1},
    "no-modality-ffn": {"modality_use_ffn": False, "modality_attn_every_n": 1, "modality_attn_start_layer": 2},
    "separate": {"share_trunk_depth_emb": False},
    "equal-widths": {"share_trunk_depth_emb": False, "depth_dim": None},
    "tied-heads": {"share_trunk_depth_emb": False, "tie_depth_io": True},
    "tied-heads-equal-widths": {"share_trunk_depth_emb": False, "tie_depth_io": True, "depth_dim": 32},
    "all-tied": {"tie_depth_io": True},
}
TOKENIZERS = {
    "weight-norm": {},
    "layer": {"norm": "layer"},
    "rms": {"norm": "rms", "n_residual_layers": 2},
    "bare": {"norm": None, "n_residual_layers": 0, "attention_depth": 0},
    "own-code-width": {"codebook_dim": None, "stride_kernel_multiplier": 1, "last_kernel_size": 5},
}


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_model_layout_is_the_published_state_dict(tiny_config, options):
    from hypnos.models.rq_transformer import ModalityConfig, MultiModalRQTransformer

    metadata = parse_config(tiny_config(model=options))
    rows = [ModalityConfig(m.name, m.num_quantizers, m.codebook_size, m.signal_type) for m in metadata.modalities]
    model = MultiModalRQTransformer(rows, **metadata.model_kwargs)
    layout = model_layout(metadata)
    state = model.state_dict()
    assert {n: (s.shape, s.dtype) for n, s in layout.items()} == {
        n: (tuple(t.shape), DTYPES[t.dtype]) for n, t in state.items()
    }
    # An alias really is the same storage there.
    tied = {n: s.alias_of for n, s in layout.items() if s.alias_of}
    assert all(state[n].data_ptr() == state[owner].data_ptr() for n, owner in tied.items())
    assert len({t.data_ptr() for t in state.values()}) == len(layout) - len(tied)


@pytest.mark.parametrize("options", TOKENIZERS.values(), ids=TOKENIZERS)
def test_tokenizer_layout_is_the_published_state_dict(tiny_config, options):
    from hypnos.models.tokenizer import SignalTokenizer

    metadata = parse_config(tiny_config(tokenizer=options))
    for spec in metadata.tokenizers.values():
        state = SignalTokenizer(**spec.tokenizer_kwargs).state_dict()
        layout = tokenizer_layout(spec.config)
        assert {n: (s.shape, s.dtype) for n, s in layout.items()} == {
            n: (tuple(t.shape), DTYPES[t.dtype]) for n, t in state.items()
        }
