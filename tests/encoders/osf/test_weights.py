import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hypnos_bench.encoders.osf.layout import SIZES, Geometry
from hypnos_bench.encoders.osf.weights import load, random_state
from hypnos_bench.errors import DataError

SMALL = Geometry(width=32, depth=2, heads=2, hidden=64)


def same(found, wanted):
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def head(prefix=""):
    return {f"{prefix}linear_layer.1.weight": torch.zeros(4, 32), f"{prefix}linear_layer.1.bias": torch.zeros(4)}


def test_the_released_payload(released, state):
    found, geometry, _ = load(released(state))
    same(found, state)
    assert geometry == SMALL


def test_the_released_size_loads_from_its_names_and_shapes(tmp_path):
    """150 tensors of the documented shapes, each one stored number repeated, so that the file is small."""
    shapes = SIZES["vit_base"].shapes()
    payload = {name: torch.full((1,), 0.5).expand(shape) for name, shape in shapes.items()}
    metadata = {"model_name": "dino", "encoder_name": "vit_base", "num_leads": 12, "width": 768, "depth": 12}
    torch.save({"state_dict": payload, "metadata": metadata}, tmp_path / "osf_backbone.pth")
    found, geometry, _ = load(tmp_path / "osf_backbone.pth")
    assert geometry == SIZES["vit_base"]
    assert len(found) == 150
    assert sum(tensor.numel() for tensor in found.values()) == 85_325_568


def test_files_without_metadata(tmp_path, state):
    torch.save(state, tmp_path / "bare.pth")
    save_file(state, tmp_path / "bare.safetensors")
    for name in ("bare.pth", "bare.safetensors"):
        found, geometry, _ = load(tmp_path / name)
        same(found, state)
        assert geometry == SMALL


@pytest.mark.parametrize(
    "prefix",
    ["encoders.all.backbone.", "backbones.all.", "backbone.", "module.", "module.backbone.", "backbone.module."],
)
def test_prefixes_of_training_scripts(tmp_path, state, prefix):
    torch.save({"state_dict": under(prefix, state), "epoch": 3}, tmp_path / "last.ckpt")
    same(load(tmp_path / "last.ckpt")[0], state)


def test_a_pre_training_checkpoint_has_two_networks(tmp_path, state):
    teacher = random_state(SMALL, 2)
    rest = {"student_global_head.mlp.0.weight": torch.zeros(3, 3), "dino_loss.center": torch.zeros(1, 8)}
    both = under("encoders.all.backbone.", state) | under("teacher_encoder.backbone.", teacher) | rest
    torch.save({"state_dict": both}, tmp_path / "last.ckpt")
    same(load(tmp_path / "last.ckpt")[0], state)
    same(load(tmp_path / "last.ckpt", "teacher")[0], teacher)
    torch.save({"state_dict": under("teacher_encoder.backbone.", teacher)}, tmp_path / "teacher.ckpt")
    with pytest.raises(DataError, match=r"teacher\.ckpt: only the teacher is in it.*osf\.branch=teacher"):
        load(tmp_path / "teacher.ckpt")
    torch.save(state, tmp_path / "bare.pth")
    with pytest.raises(DataError, match=r"no teacher in it"):
        load(tmp_path / "bare.pth", "teacher")


def test_two_copies_of_a_fine_tuned_network_must_agree(tmp_path, state):
    both = under("backbones.all.", state) | under("backbone.", state) | head()
    torch.save({"state_dict": both}, tmp_path / "fine.ckpt")
    same(load(tmp_path / "fine.ckpt")[0], state)
    both["backbone.block1.ff.norm.bias"] = both["backbone.block1.ff.norm.bias"] + 1
    torch.save({"state_dict": both}, tmp_path / "fine.ckpt")
    with pytest.raises(DataError, match=r"differ: backbones\.all\.block1\.ff\.norm\.bias and backbone\.block1"):
        load(tmp_path / "fine.ckpt")


def test_a_bare_network_beside_another_copy_must_be_the_same(tmp_path, state):
    torch.save(state | under("backbone.", state), tmp_path / "both.ckpt")
    same(load(tmp_path / "both.ckpt")[0], state)
    torch.save(random_state(SMALL, 2) | under("backbone.", state), tmp_path / "both.ckpt")
    with pytest.raises(DataError, match=r"two networks in it, and they differ: backbone\.\w+ and \w+;"):
        load(tmp_path / "both.ckpt")
    teacher = under("teacher_encoder.backbone.", random_state(SMALL, 2))
    torch.save(state | teacher, tmp_path / "both.ckpt")
    same(load(tmp_path / "both.ckpt")[0], state)
    same(load(tmp_path / "both.ckpt", "teacher")[0], random_state(SMALL, 2))


def test_a_file_that_lacks_whole_blocks_is_not_a_smaller_network(tmp_path, metadata):
    nano = random_state(SIZES["vit_nano"], 1)
    short = {name: value for name, value in nano.items() if not name.startswith("block5.")}
    torch.save(nano, tmp_path / "w.pth")
    assert load(tmp_path / "w.pth")[1] == SIZES["vit_nano"]
    torch.save(short, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: 5 blocks of width 128 and 4 heads are none .*\(vit_nano 6 blocks\)"):
        load(tmp_path / "w.pth")
    stated = metadata | {"width": 128, "depth": 5}
    torch.save({"state_dict": short, "metadata": stated}, tmp_path / "w.pth")
    assert load(tmp_path / "w.pth")[1].depth == 5
    torch.save({"state_dict": short, "metadata": {"model_name": "dino"}}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="parts may be missing"):
        load(tmp_path / "w.pth")


def test_weights_must_be_floating_point(tmp_path, state):
    torch.save({**state, "norm.bias": torch.zeros(32, dtype=torch.int64)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: norm\.bias holds int64, not floating-point numbers"):
        load(tmp_path / "w.pth")


def test_the_dead_weight_may_be_missing_and_nothing_else(tmp_path, state):
    del state["lead_emb.weight"]
    torch.save(state, tmp_path / "w.pth")
    same(load(tmp_path / "w.pth")[0], state)
    for name in sorted(state):
        torch.save({k: v for k, v in state.items() if k != name}, tmp_path / "w.pth")
        with pytest.raises(DataError, match=rf"w\.pth: not the weights.* 1 of 30 .*{name}: wanted .*found nothing"):
            load(tmp_path / "w.pth")


def test_the_first_difference_is_named(tmp_path, state):
    state["block1.attn.fn.to_qkv.bias"] = torch.zeros(383)
    state["head.weight"] = torch.zeros(4, 32)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"2 of 31 .*first is block1\.attn\.fn\.to_qkv\.bias: wanted 384, found 383"):
        load(tmp_path / "w.pth")
    torch.save({"model.conv1.weight": torch.zeros(3, 3)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"cls_token: wanted 1x1x768, found nothing"):
        load(tmp_path / "w.pth")
    state["block99999999999.attn.norm.weight"] = torch.zeros(32)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError, match="tensors differ"):
        load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("pos_embedding", (1, 61, 32), "pos_embedding: wanted 1x91x32, found 1x61x32"),
        ("to_patch_embedding.weight", (32, 1, 1, 64), "wanted 32x1x4x64, found 32x1x1x64"),
        ("cls_token", (32,), "cls_token: wanted 1x1x32, found 32"),
        ("block0.attn.fn.to_out.0.weight", (32, 100), "how many heads share 100 columns"),
        ("block0.attn.fn.to_out.0.weight", (32, 0), "wanted 32x128, found 32x0"),
    ],
)
def test_another_geometry_is_refused(tmp_path, state, name, shape, message):
    state[name] = torch.zeros(shape)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_leads", 5, r"another input: num_leads is 5, wanted 12"),
        ("patch_size_time", 32, r"patch_size_time is 32, wanted 64"),
        ("patch_size_ch", 1, r"patch_size_ch is 1, wanted 4"),
        ("sample_rate", float("nan"), r"sample_rate is nan, wanted 64"),
        ("lead_wise", 0, r"lead_wise is 0, wanted 1"),
        ("sample_rate", 128, r"sample_rate is 128, wanted 64"),
        ("window_size_sec", 300, r"window_size_sec is 300, wanted 30"),
        ("seq_len", "long", r"seq_len is long, wanted 1920"),
        ("width", 64, r"disagree: width 64 is stated, 32 found"),
        ("depth", 12, r"disagree: depth 12 is stated, 2 found"),
        ("encoder_name", "vit_nano", r"disagree: vit_nano is .*found Geometry\(width=32"),
        ("heads", 3, r"how many heads share 128 columns.*heads 3"),
        ("heads", 0, r"how many heads share 128 columns.*heads 0"),
    ],
)
def test_metadata_of_another_input_are_refused(released, state, name, value, message):
    with pytest.raises(DataError, match=message):
        load(released(state, **{name: value}))


def test_heads_are_taken_from_metadata(released, state):
    assert load(released(state, heads=4))[1] == dataclasses.replace(SMALL, heads=4, head_dim=32)


def test_nothing_in_a_file_is_run(tmp_path, state):
    torch.save({"state_dict": state, "hyper_parameters": dataclasses.make_dataclass}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: .*it asks for"):
        load(tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"gone\.pth: cannot be opened"):
        load(tmp_path / "gone.pth")


def test_random_weights_are_the_same_everywhere():
    """The recipe, written out for one tensor."""
    import hashlib

    state = random_state(SMALL, 5)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == SMALL.shapes()
    name = "block1.ff.fn.net.3.weight"
    seed = int.from_bytes(hashlib.sha256(f"5:{name}".encode()).digest()[:16], "little")
    uniform = np.random.Generator(np.random.PCG64(seed)).random((32, 64), dtype=np.float32)
    np.testing.assert_allclose(state[name].numpy(), (2 * uniform - 1) / 8, atol=1e-7)
    same(random_state(SMALL, 5), state)
    assert not torch.equal(random_state(SMALL, 6)[name], state[name])
    bias = random_state(SMALL, 5)["block1.ff.fn.net.3.bias"]
    assert 0.05 < bias.abs().max() <= 1 / 8
    assert (state["norm.weight"] == 1).all()
    assert (state["block0.attn.norm.bias"] == 0).all()
    assert abs(state["pos_embedding"].std() - 0.02) < 1e-3
