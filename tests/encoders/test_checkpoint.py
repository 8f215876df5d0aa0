"""Checkpoints of others: nothing in them is run, and what is wrong is said in one line."""

from __future__ import annotations

import collections
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hypnos_bench.encoders import checkpoint
from hypnos_bench.encoders.checkpoint import check_state, load_state, sha256_of
from hypnos_bench.errors import DataError
from hypnos_bench.spec import file_sha256

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}


@pytest.fixture
def saved(tmp_path):
    def save(content, name="file.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def same(found, wanted=STATE):
    return found.keys() == wanted.keys() and all(torch.equal(found[k], v) for k, v in wanted.items())


def test_what_training_leaves_beside_the_weights_does_no_harm(saved):
    beside = {"epoch": 3, "loss": np.float64(0.25), "steps": np.int64(7), "lr": np.float32(1e-3), "optim_dict": {}}
    assert same(load_state(saved({**beside, "state_dict": collections.OrderedDict(STATE)})))
    assert same(load_state(saved({**beside, "model_state_dict": STATE})))


def test_prefixes_come_off_and_types_become_float32(saved, tmp_path):
    path = saved({"module.net.a.weight": torch.nn.Parameter(STATE["a.weight"].half()), "a.count": torch.tensor(3)})
    found = load_state(path, ("module.", "net."))
    assert same(found)
    assert found["a.weight"].dtype == torch.float32
    assert found["a.count"].dtype == torch.int64
    save_file({f"module.{k}": v for k, v in STATE.items()}, tmp_path / "f.safetensors")
    assert same(load_state(tmp_path / "f.safetensors", ("module.",)))
    with pytest.raises(DataError, match="a is there twice"):
        load_state(saved({"module.a": torch.zeros(1), "a": torch.zeros(1)}), ("module.",))


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "config": Evil()}, "it asks for print; save its state_dict alone"),
        (torch.nn.Linear(2, 2), "it asks for torch.nn.modules.linear.Linear; save its state_dict alone"),
        ([torch.zeros(2)], "holds list, not a dict of weights"),
        ({"a": torch.zeros(2), "epoch": 3}, "'epoch' is int, not a tensor"),
        ({"a": torch.tensor([1.0, float("nan")])}, "a holds numbers that are not finite"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "a is no plain tensor"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "a is no plain tensor"),
    ],
)
def test_what_is_not_plain_weights_is_refused(saved, capsys, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load_state(saved(content))
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""  # nothing was run


def test_sizes_are_bounded_before_anything_is_read(saved, tmp_path, monkeypatch):
    repeated = saved({"a": torch.zeros(1).expand(2**40)})
    with pytest.raises(DataError, match="a has 1099511627776 numbers, more than are read"):
        load_state(repeated)
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 5000)
    large = saved({"a": torch.zeros(2000)})
    with pytest.raises(DataError, match="more than the 5000 that are opened"):
        load_state(large)
    with zipfile.ZipFile(large) as whole, zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for info in whole.infolist():
            packed.writestr(info.filename, whole.read(info))
    with pytest.raises(DataError, match="unpacks to .* more than the 5000 that are read"):
        load_state(tmp_path / "packed.pt")


def test_damage_is_said_in_one_line(saved, tmp_path):
    whole = saved(STATE).read_bytes()
    save_file(STATE, tmp_path / "whole.safetensors")
    contents = {
        "missing.pt": None,
        "empty.pt": b"",
        "text.pt": b"<html>404</html>" * 50,
        "half.pt": whole[: len(whole) // 2],
        "flipped.pt": whole.replace(b"data.pkl", b"dota.pkl"),
        "half.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:-9],
        "text.safetensors": b"<html>404</html>" * 50,
    }
    for name, content in contents.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name) as caught:
            load_state(tmp_path / name)
        assert "\n" not in str(caught.value)
    old = tmp_path / "old.pt"
    torch.save(STATE, old, _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="no torch checkpoint"):
        load_state(old)


def test_the_first_difference_is_named_in_the_order_wanted():
    wanted = {"b": (2,), "a": (3, 4), "num_batches_tracked": ()}
    found = {"a": torch.zeros(3, 4), "b": torch.zeros(2), "num_batches_tracked": torch.tensor(1)}
    check_state(found, wanted)
    with pytest.raises(DataError, match="2 of 3 tensors differ, the first is b: wanted 2, found 5"):
        check_state({**found, "a": torch.zeros(1), "b": torch.zeros(5)}, wanted)
    with pytest.raises(
        DataError, match="f.pt: .* the first is num_batches_tracked: wanted a single number, found nothing"
    ):
        check_state({"a": found["a"], "b": found["b"]}, wanted, where="f.pt")
    with pytest.raises(DataError, match="1 of 4 tensors differ, the first is z: wanted nothing, found 1"):
        check_state({**found, "z": torch.zeros(1)}, wanted)
    check_state({**found, "z": torch.zeros(1)}, wanted, ignore=("z",))
    check_state({"a": found["a"], "b": found["b"]}, wanted, ignore=("num_batches_tracked",))


def test_the_hash_follows_the_file(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"one")
    first = sha256_of(path)
    assert first == file_sha256(path)
    path.write_bytes(b"other")
    assert sha256_of(path) == file_sha256(path) != first
    with pytest.raises(DataError, match="cannot be opened"):
        sha256_of(tmp_path / "missing.pt")


def test_weights_are_floating_point_and_variances_not_negative():
    wanted = {"a.running_var": (2,), "b": (2,), "spare": (1,)}
    good = {"a.running_var": torch.zeros(2), "b": torch.zeros(2), "spare": torch.zeros(1)}
    check_state(good, wanted)
    for kind in (torch.int64, torch.int8, torch.bool):
        with pytest.raises(DataError, match=rf"^w\.pt: b holds {str(kind)[6:]}, not floating-point"):
            check_state({**good, "b": torch.zeros(2, dtype=kind)}, wanted, where="w.pt")
    with pytest.raises(DataError, match=r"a\.running_var holds negative variances"):
        check_state({**good, "a.running_var": torch.tensor([1.0, -1e-9])}, wanted)
    check_state({**good, "spare": torch.tensor([1])}, wanted, ignore=("spare",))


def test_what_tensors_take_as_float32_is_bounded_before_any_is_converted(saved, monkeypatch):
    half = torch.zeros(1, dtype=torch.float16)
    with pytest.raises(DataError, match="a has 4294967296 numbers, more than are read"):
        load_state(saved({"a": half.expand(2**32)}))  # 8 GiB as they are, 16 as float32
    with pytest.raises(DataError, match="its tensors take 12884901888 bytes as float32, more than the"):
        load_state(saved({f"a{i}": half.expand(2**30) for i in range(3)}))
    with pytest.raises(DataError, match="take 2147483648 bytes as float32, of which it stores 4"):
        load_state(saved({"a": half.expand(2**29)}))
    block = torch.zeros(1000, dtype=torch.float16)
    monkeypatch.setattr(checkpoint, "MAX_REPEATED_BYTES", 4000)
    assert len(load_state(saved({"a": block, "tied": block}))) == 2
    with pytest.raises(DataError, match="take 12000 bytes as float32, of which it stores 4000"):
        load_state(saved({"a": block, "tied": block, "again": block}))
