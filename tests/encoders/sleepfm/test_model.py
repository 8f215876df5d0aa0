"""The network: upstream's outputs on random weights, and what must not depend on what."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors import safe_open

from hypnos_bench.encoders.checkpoint import check_state
from hypnos_bench.encoders.sleepfm.model import Blocks, Sizes, SleepFM
from hypnos_bench.encoders.sleepfm.weights import shapes


@pytest.fixture(scope="module")
def golden(shared_data):
    with safe_open(shared_data / "golden" / "sleepfm-small.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    sizes = Sizes(
        config["embed_dim"],
        config["num_heads"],
        config["num_layers"],
        config["pooling_head"],
        config["patch_size"],
        config["max_seq_length"],
    )
    state = {k.removeprefix("weights/module."): v for k, v in tensors.items() if k.startswith("weights/")}
    check_state(state, shapes(sizes))
    return tensors, SleepFM(state, sizes)


@pytest.mark.parametrize("case", ["", "_single"])
def test_golden_parity_with_the_authors_implementation(golden, case):
    tensors, model = golden
    found = model(tensors[f"io/x{case}"], tensors[f"io/mask{case}"].bool())
    torch.testing.assert_close(found.tokens, tensors[f"io/out_tokens{case}"], atol=5e-6, rtol=0)
    torch.testing.assert_close(found.pooled, tensors[f"io/out_pooled{case}"], atol=5e-6, rtol=0)


def test_a_masked_channel_is_as_good_as_absent(golden):
    tensors, model = golden
    x = tensors["io/x"][1:]
    masked = model(x, torch.tensor([[False, False, True]]))
    torch.testing.assert_close(masked.tokens, model(x[:, :2]).tokens, atol=5e-6, rtol=0)
    assert (masked.tokens - model(x).tokens).abs().max() > 0.01


def test_sizes_are_those_of_the_release():
    wanted = shapes()
    statistics = ("running_mean", "running_var", "num_batches_tracked", "positional_encoding.pe")
    assert len(wanted) == 155
    assert sum(math.prod(shape) for name, shape in wanted.items() if not name.endswith(statistics)) == 4_831_656
    assert wanted["patch_embedding.tokenizer.23.weight"] == (128, 10)
    assert wanted["patch_embedding.tokenizer.26.weight"] == (128, 128)


@pytest.fixture(scope="module")
def full(state):
    return SleepFM(state)


def test_order_of_channels_does_not_matter(full):
    x = torch.randn(1, 4, 6 * 640, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(full(x).tokens, full(x[:, [2, 0, 3, 1]]).tokens, atol=2e-5, rtol=0)


def test_blocks_change_nothing(full, state):
    """Neither their size nor what else lies in them: rounding only."""
    x = torch.randn(5, 3, 7 * 640, generator=torch.Generator().manual_seed(1))
    whole = full(x)
    single = SleepFM(state, blocks=Blocks(1, 1, 1))(x[3:4])
    other = SleepFM(state, blocks=Blocks(17, 5, 3))(x)
    for mine, theirs in ((single, whole.tokens[3:4]), (other, whole.tokens)):
        scale = theirs.abs().max()
        assert (mine.tokens - theirs).abs().max() <= 2e-6 * scale
    assert (other.pooled - whole.pooled).abs().max() <= 2e-6 * whole.pooled.abs().max()


def test_every_part_moves_the_result(state):
    """Untrained weights leave nothing idle, so that parity on them means something."""
    x = torch.randn(1, 2, 2 * 640, generator=torch.Generator().manual_seed(2))
    before = SleepFM(state)(x)
    for name in (
        "patch_embedding.tokenizer.1.running_var",
        "patch_embedding.tokenizer.21.running_mean",
        "patch_embedding.tokenizer.23.weight",
        "spatial_pooling.transformer_layer.linear1.weight",
        "positional_encoding.pe",
        "transformer_encoder.layers.5.self_attn.in_proj_weight",
        "temporal_pooling.transformer_layer.norm2.weight",
    ):
        changed = SleepFM({**state, name: state[name] * 1.5})(x)
        assert (changed.pooled - before.pooled).abs().max() > 1e-3, name


def test_windows_longer_than_the_positions_are_refused(full):
    with pytest.raises(ValueError, match="129 tokens in a window, the network has 128 positions"):
        full.contextualise(torch.zeros(1, 129, 128))
