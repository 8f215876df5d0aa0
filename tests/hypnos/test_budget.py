"""Batches and blocks follow the memory that is free; a CPU is not asked."""

import copy

import pytest
import torch

from hypnos_bench.hypnos import budget as module
from hypnos_bench.hypnos.budget import recording_bytes, recordings_at_once, token_bytes, tokenizer_block
from hypnos_bench.hypnos.config import parse_config
from hypnos_bench.hypnos.infer import load_model
from hypnos_bench.hypnos.random_bundle import ASSUMED_RELEASED_CONFIG
from hypnos_bench.hypnos.tokenizer import BLOCK_TOKENS


@pytest.fixture(scope="module")
def loaded(tiny_bundle):
    return load_model(tiny_bundle)


def test_the_tokenizer_block_follows_the_free_memory(loaded, monkeypatch):
    _, tokenizers, _ = loaded
    on_cuda = type("OnCuda", (), {"device": torch.device("cuda"), "config": tokenizers["ecg"].config})
    each = token_bytes(on_cuda.config)
    monkeypatch.setattr(module, "budget_bytes", lambda device: 4 * 100 * each)
    assert [tokenizer_block(on_cuda, n) for n in (100, 4, 1)] == [64, 100, 400]
    assert tokenizer_block(tokenizers["ecg"], 4) == BLOCK_TOKENS["cpu"]


class OnCuda:
    """As much of a model as the choice of a batch looks at."""

    device = torch.device("cuda")
    norm = type("Norm", (), {"weight": torch.zeros(1, dtype=torch.bfloat16)})


def test_the_batch_follows_the_free_memory(monkeypatch):
    metadata = parse_config(copy.deepcopy(ASSUMED_RELEASED_CONFIG))
    each = recording_bytes(metadata, 2)
    assert 50e6 < each < 300e6
    assert recording_bytes(metadata, 4) > each
    free = [0]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 2 * free[0]))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    for free[0], expected in ((0, 1), (2 * each, 1), (10 * each, 5), (10**12, 32)):
        assert recordings_at_once(OnCuda, metadata) == expected


def test_a_past_without_a_window_costs_its_chunk():
    config = copy.deepcopy(ASSUMED_RELEASED_CONFIG)
    config["model_kwargs"]["global_window"] = None
    metadata = parse_config(config)
    more = recording_bytes(metadata, 2, 2048) - recording_bytes(metadata, 2, 1024)
    assert more == 3 * 1024 * 8 * 2 * 2 * 768  # layers, seconds, modalities, keys and values, bytes, width


def test_on_a_cpu_recordings_go_one_by_one(loaded):
    model, _, metadata = loaded
    assert recordings_at_once(model, metadata) == 1
