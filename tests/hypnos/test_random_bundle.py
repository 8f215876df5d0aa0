"""Random bundles: same seed same bytes, marked untrained, and not degenerate."""

import hashlib

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError
from hypnos_bench.hypnos.config import parse_config
from hypnos_bench.hypnos.infer import embed, load_model, tokenize
from hypnos_bench.hypnos.layout import bundle_layout
from hypnos_bench.hypnos.random_bundle import ASSUMED_RELEASED_CONFIG, SMALL_CONFIG, write_random_bundle


@pytest.fixture(scope="module")
def small(bundle_file):
    return bundle_file(SMALL_CONFIG)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_equal_seeds_give_equal_bytes(tmp_path, tiny_config):
    paths = [
        write_random_bundle(tmp_path / f"{i}", seed=seed, config=tiny_config()) for i, seed in enumerate((1, 1, 2))
    ]
    assert sha256(paths[0]) == sha256(paths[1]) != sha256(paths[2])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2"]


def test_the_path_may_be_text(tmp_path, tiny_config):
    assert write_random_bundle(str(tmp_path / "a"), config=tiny_config()) == tmp_path / "a"
    assert (tmp_path / "a").is_file()


def test_nothing_is_left_of_a_failed_write(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setattr("hypnos_bench.hypnos.random_bundle._draw_uniform", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_random_bundle(tmp_path / "a", config=tiny_config())
    assert not list(tmp_path.iterdir())


def test_a_wrong_config_is_refused(tmp_path, tiny_config):
    with pytest.raises(DataError, match="random bundle, model_kwargs: unknown option"):
        write_random_bundle(tmp_path / "a", config=tiny_config(model={"novelty": 1}))


def test_marked_untrained(small):
    assert load_model(small)[2].untrained


def test_small_config_has_all_modalities_and_published_filters(small):
    from hypnos.data.preprocessing import MODALITY_CONFIGS

    metadata = load_model(small)[2]
    assert [m.channels[0] for m in metadata.modalities] == ["C3", "C4", "E1", "E2", "Chin", "ECG", "ABD", "THX"]
    assert {m.preprocess_modality for m in metadata.modalities} <= set(MODALITY_CONFIGS)
    assert metadata.config.embed_dim == 64


def test_the_library_and_the_published_loader_read_it(small, reference):
    from safetensors import safe_open

    with safe_open(small, "pt") as file:
        assert file.metadata()["untrained"] == "true"
        assert len(list(file.keys())) > 100
    assert len(reference.load(small)[1]) == 8


def test_codes_are_in_use_and_embeddings_vary(small, make_signals):
    model, tokenizers, metadata = load_model(small)
    tokens, mask, ids = tokenize(tokenizers, metadata, make_signals(metadata, 900))
    used = [len(torch.unique(tokens[0, :, k])) for k in range(tokens.shape[2])]
    assert min(used[k] for k in range(0, len(used), 4)) > 100  # of 256, at each first level
    for name, array in embed(model, tokens, mask, ids, metadata).items():
        x = array.astype(np.float32)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        assert 0.7 < x.std() < 1.4, name
        assert 0.0 < np.mean(np.sum(unit[1:] * unit[:-1], 1)) < 0.9, name
        # Many directions carry the variance, not one.
        spectrum = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
        assert spectrum.sum() ** 2 / np.sum(spectrum**2) > 8, name


def test_other_signals_give_other_embeddings(small):
    model, tokenizers, metadata = load_model(small)
    t = np.arange(60 * 128, dtype=np.float32) / 128
    out = [
        embed(model, *tokenize(tokenizers, metadata, {"eeg_c3": np.sin(2 * np.pi * f * t)}), metadata)["eeg_c3"]
        for f in (1, 10)
    ]
    assert np.abs(out[0].astype(np.float32) - out[1]).mean() > 0.3


def test_assumed_released_size():
    layout = bundle_layout(parse_config(ASSUMED_RELEASED_CONFIG))
    slots = [slot for slot in layout.values() if slot.alias_of is None and slot.dtype == "F32"]
    size = sum(4 * int(np.prod(slot.shape)) for slot in slots)
    needed = sum(4 * int(np.prod(slot.shape)) for slot in slots if slot.needed)
    assert size == pytest.approx(1.877e9, rel=1e-3)
    assert needed == pytest.approx(1.194e9, rel=5e-3)
