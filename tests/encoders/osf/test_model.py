import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from hypnos_bench.encoders.osf.layout import SIZES, Geometry
from hypnos_bench.encoders.osf.model import ViT
from hypnos_bench.encoders.osf.weights import random_state
from hypnos_bench.hypnos.linear import settle

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "data" / "golden" / "osf-small.safetensors"
SMALL = Geometry(width=32, depth=2, heads=2, hidden=64)
CPU = torch.device("cpu")


def build(geometry, seed=0, dtype=torch.float32):
    return settle(ViT(random_state(geometry, seed), geometry), CPU, dtype)


def noise(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 12, 1920), dtype=np.float32)).clamp(-6, 6)


@torch.inference_mode()
def test_golden_parity_with_upstreams_outputs():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name} (upstream's outputs) is not here")
    with safe_open(GOLDEN, framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        state = {name.removeprefix("weights/"): file.get_tensor(name) for name in file.keys() if "weights/" in name}  # noqa: SIM118
        x, cls, mean = (file.get_tensor(f"io/{name}") for name in ("x", "out_cls", "out_mean_patch"))
    geometry = Geometry(config["width"], config["depth"], config["heads"], config["mlp_dim"], config["dim_head"])
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == geometry.shapes()
    model = settle(ViT(state, geometry), CPU, torch.float32)
    ours, patches = model(x, patches=True)
    alone, none = model(x, patches=False)
    assert none is None
    for found, wanted in ((ours, cls), (alone, cls), (patches.mean(dim=1), mean)):
        torch.testing.assert_close(found, wanted, rtol=0, atol=3e-6)  # asked: 1e-5


@torch.inference_mode()
def test_it_gives_what_plain_torch_layers_give():
    """An oracle from torch's own modules, in float64, with the weights under their published names."""
    state = {name: tensor.double() for name, tensor in random_state(SMALL, 3).items()}
    x = noise(3).double()
    convolution = nn.functional.conv2d(x[:, None], state["to_patch_embedding.weight"], stride=(4, 64))
    h = convolution.flatten(2).transpose(1, 2)  # by group, then second
    h = torch.cat([state["cls_token"].expand(3, 1, -1), h], dim=1) + state["pos_embedding"]
    for i in range(2):

        def part(name, values, i=i):
            name = f"block{i}.{name}"
            return nn.functional.linear(values, state[f"{name}.weight"], state[f"{name}.bias"])

        def norm(name, values):
            return nn.functional.layer_norm(values, (32,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

        q, k, v = part("attn.fn.to_qkv", norm(f"block{i}.attn.norm", h)).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (2, 64)).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(2, 3) / 8).softmax(dim=-1)
        h = h + part("attn.fn.to_out.0", (weights @ v).transpose(1, 2).flatten(2))
        inside = part("ff.fn.net.0", norm(f"block{i}.ff.norm", h))
        inside = inside * 0.5 * (1 + torch.erf(inside / 2**0.5))
        h = h + part("ff.fn.net.3", inside)
    wanted = norm("norm", h)
    cls, patches = build(SMALL, 3)(x.float(), patches=True)
    torch.testing.assert_close(cls.double(), wanted[:, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(patches.double(), wanted[:, 1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("vit_nano", 1_630_336),
        ("vit_tiny", 5_406_144),
        ("vit_small", 21_429_120),
        ("vit_middle", 38_009_344),
        ("vit_base", 85_325_568),
        ("vit_large", 302_670_848),
        ("vit_xl", 680_498_688),
    ],
)
def test_sizes_have_the_published_numbers_of_parameters(size, parameters):
    geometry = SIZES[size]
    shapes = geometry.shapes()
    assert geometry.parameters() == parameters
    assert len(shapes) == 6 + 12 * geometry.depth


def test_every_weight_is_used_but_the_dead_one():
    state = random_state(SMALL, 0)
    model = ViT(state, SMALL)
    assert not state
    gone = 3 * 32 + 32  # the dead weight, and the class token, which joins its position
    assert sum(p.numel() for p in model.parameters()) == SMALL.parameters() - gone
    with pytest.raises(ValueError, match="weights of no part of the network: head"):
        ViT(random_state(SMALL, 0) | {"head": torch.zeros(1)}, SMALL)


def test_the_released_size_has_the_published_names():
    shapes = SIZES["vit_base"].shapes()
    assert len(shapes) == 150
    assert shapes["to_patch_embedding.weight"] == (768, 1, 4, 64)
    assert shapes["pos_embedding"] == (1, 91, 768)
    assert shapes["block11.attn.fn.to_qkv.weight"] == (2304, 768)
    assert shapes["block11.ff.fn.net.3.weight"] == (768, 3072)


@torch.inference_mode()
@pytest.mark.parametrize("size", ["small", "vit_nano"])
def test_a_row_depends_on_its_own_epoch_only(size):
    model = build(SMALL if size == "small" else SIZES[size])
    x = noise(13)
    whole = model(x, patches=False)[0]
    assert not torch.equal(whole[0], whole[1])
    for n in (1, 4):
        parts = torch.cat([model(x[i : i + n], patches=False)[0] for i in range(0, len(x), n)])
        torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model(x.flip(0), patches=False)[0].flip(0), whole, rtol=1e-6, atol=1e-6)


@torch.inference_mode()
def test_nothing_in_gives_finite_rows():
    cls, patches = build(SMALL)(torch.zeros(2, 12, 1920), patches=True)
    assert torch.isfinite(cls).all()
    assert torch.isfinite(patches).all()


@torch.inference_mode()
def test_order_of_channels_and_time_matter():
    model, x = build(SMALL), noise(1)
    whole = model(x, patches=False)[0]
    assert not torch.allclose(model(x.flip(1), patches=False)[0], whole, atol=1e-4)
    assert not torch.allclose(model(x.roll(64, 2), patches=False)[0], whole, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 1920), (1, 12, 1856), (1, 12, 3840), (1, 1920, 12)])
def test_another_input_is_refused(shape):
    """Eight channels, or 29 s, would run and mean something else."""
    with pytest.raises(ValueError, match=r"an epoch is \(12, 1920\)"):
        build(SMALL)(torch.zeros(shape), patches=False)


@torch.inference_mode()
def test_short_weights_stay_near():
    x = noise(4)
    exact = build(SMALL)(x, patches=True)
    short = build(SMALL, dtype=torch.bfloat16)(x, patches=True)
    for found, wanted in zip(short, exact):
        assert found.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min() > 0.999
