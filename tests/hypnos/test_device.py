"""Devices: the best one present, or a clear refusal."""

import pytest
import torch

from hypnos_bench.errors import UsageError
from hypnos_bench.hypnos.device import pick_device


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_prefers_cuda_then_mps(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    device, reason = pick_device("auto")
    assert device == torch.device(expected)
    assert reason.startswith(expected)
    assert "\n" not in reason


def test_explicit_cpu_wins(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("cpu")[0] == torch.device("cpu")
    assert pick_device(torch.device("cpu"))[0] == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps", "gpu", "meta", "cuda:9"])
def test_what_is_not_there_is_refused(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name == "cuda:9")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=name.split(":")[0]):
        pick_device(name)
