"""Files of the released layouts load; anything else is refused with a reason."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hypnos_bench.encoders.base import EncoderOptions
from hypnos_bench.encoders.sleepfm import PRETRAINED_ON, SleepFMEncoder, weights
from hypnos_bench.errors import DataError

HEAD = {  # the parts by which a head is told
    "staging": {"attention_pool.x": (4, 128), "lstm.weight_ih_l0": (256, 128), "fc.weight": (5, 128), "fc.bias": (5,)},
    "diagnosis": {
        "lstm.weight_ih_l0": (256, 128),
        "demo_embedding.0.weight": (32, 2),
        "disease_heads.weight": (9, 160),
    },
}


def test_every_layout_gives_the_same_tensors(state, checkpoint, tmp_path):
    prefixed = {f"module.{name}": value for name, value in state.items()}
    for name, content in {"bare.pt": prefixed, "plain.pth": state, "other.pt": {"model_state_dict": prefixed}}.items():
        torch.save(content, tmp_path / name)
    save_file(prefixed, tmp_path / "converted.safetensors")
    for path in (checkpoint, *sorted(tmp_path.iterdir())):
        loaded = weights.load(path)
        assert loaded.keys() == state.keys(), path
        assert all(torch.equal(loaded[name], value) for name, value in state.items()), path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm.weight": (64,)}, "1 of 155 tensors differ, the first is layer_norm.weight: wanted 128, found 64"),
        ({"layer_norm.weight": None}, "the first is layer_norm.weight: wanted 128, found nothing"),
        ({"extra.weight": (2, 3)}, "1 of 156 tensors differ, the first is extra.weight: wanted nothing, found 2x3"),
        (
            {"transformer_encoder.layers.5.linear1.weight": None, "patch_embedding.tokenizer.4.weight": (8, 4, 3)},
            "2 of 155 tensors differ, the first is patch_embedding.tokenizer.4.weight: wanted 8x4x5, found 8x4x3",
        ),
    ],
)
def test_another_network_is_refused_with_the_first_tensor_that_differs(state, tmp_path, change, message):
    content = dict(state)
    for name, shape in change.items():
        content.pop(name, None)
        if shape is not None:
            content[name] = torch.zeros(shape)
    torch.save({"state_dict": content}, tmp_path / "best.pt")
    with pytest.raises(DataError, match=message):
        weights.load(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("head", "title"), [("staging", "the sleep staging head"), ("diagnosis", "the diagnosis head")]
)
def test_a_head_is_told_from_the_encoder(tmp_path, head, title):
    path = tmp_path / "best.pth"
    torch.save({f"module.{name}": torch.zeros(shape) for name, shape in HEAD[head].items()}, path)
    with pytest.raises(DataError, match=rf"this is {title} of SleepFM .* the encoder's file is model_base/best.pt"):
        weights.load(path)


def test_untrained_weights_are_the_same_everywhere():
    """Pinned values: another draw would be another encoder under the same name."""
    drawn = weights.random_state(0)
    assert drawn["module.patch_embedding.tokenizer.0.weight"][0, 0].tolist() == pytest.approx(PINNED, abs=0)
    assert abs(drawn["module.transformer_encoder.layers.3.linear2.weight"].std() * 2048**0.5 - 1) < 0.01
    assert weights.random_state(1)["module.layer_norm.bias"].tolist() != drawn["module.layer_norm.bias"].tolist()


PINNED = [-0.17030304670333862, 0.7049506902694702, -0.3464282155036926, -0.7534269094467163, 0.12856948375701904]


def test_weights_of_which_no_number_can_come_are_refused(state, tmp_path):
    variance = next(name for name in state if name.endswith("running_var"))
    torch.save({"state_dict": {**state, variance: -state[variance]}}, tmp_path / "best.pt")
    with pytest.raises(DataError, match=rf"{variance} holds negative variances"):
        weights.load(tmp_path / "best.pt")
    torch.save({"state_dict": {**state, "layer_norm.bias": state["layer_norm.bias"].long()}}, tmp_path / "best.pt")
    with pytest.raises(DataError, match=r"layer_norm\.bias holds int64, not floating-point numbers"):
        weights.load(tmp_path / "best.pt")


def test_a_card_says_that_its_cohorts_are_those_of_the_release(checkpoint, make_untrained):
    card = SleepFMEncoder(EncoderOptions(weights={"sleepfm": str(checkpoint)})).card
    assert card.pretrained_on == PRETRAINED_ON
    assert card.note.endswith("of the released weights; a file trained further has seen more.")
    assert "trained further" not in make_untrained().card.note
