"""The public calls keep the published names, and refuse what does not fit."""

import inspect

import numpy as np
import pytest
import torch

import hypnos_bench.hypnos as core
from hypnos_bench.errors import UsageError
from hypnos_bench.hypnos.infer import embed, load_model, tokenize


@pytest.mark.parametrize("name", ["load_model", "tokenize", "embed", "embed_edf"])
def test_calls_take_the_published_arguments(name):
    import hypnos.embedding

    ours = inspect.signature(getattr(core, name)).parameters
    theirs = inspect.signature(getattr(hypnos.embedding, name)).parameters
    positional = [n for n, p in theirs.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert list(ours)[: len(positional)] == positional
    for argument, p in theirs.items():
        assert ours[argument].kind is p.kind
        # The device of a step defaults to where the model is, which is the CPU unless it was loaded elsewhere.
        follows = argument == "device" and name in ("tokenize", "embed")
        assert ours[argument].default == (None if follows else p.default)
    added = [p for n, p in ours.items() if n not in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in added)


def test_every_exported_name_exists():
    for name in core.__all__:
        assert getattr(core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = core.nothing


def test_importing_the_room_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, hypnos_bench.hypnos, hypnos_bench.hypnos.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_step_by_step_as_in_the_published_readme(tiny_bundle, make_signals):
    model, tokenizers, meta = core.load_model(str(tiny_bundle))
    signals = make_signals(meta, 30, ("ecg",))
    tokens, mask, channel_ids = core.tokenize(tokenizers, meta, signals, "cpu")
    emb = core.embed(model, tokens, mask, channel_ids, meta, device="cpu", chunk_tokens=2048, autocast_dtype=None)
    assert {name: array.shape for name, array in emb.items()} == dict.fromkeys(signals, (30, 32))
    assert next(model.parameters()).device.type == "cpu"
    assert not any(p.requires_grad for p in model.parameters())


def test_embed_edf_is_its_steps(tmp_path, bundle_file):
    pyedflib = pytest.importorskip("pyedflib")
    from hypnos_bench.hypnos.random_bundle import SMALL_CONFIG

    rng, n, rate = np.random.default_rng(0), 20, 100
    labels = ("C3-M2", "Abdo", "ECG")
    with pyedflib.EdfWriter(str(tmp_path / "a.edf"), len(labels)) as writer:
        limits = {"dimension": "uV", "sample_frequency": rate, "physical_max": 300.0, "physical_min": -300.0}
        digital = {"digital_max": 32767, "digital_min": -32768, "transducer": "", "prefilter": ""}
        writer.setSignalHeaders([{"label": label, **limits, **digital} for label in labels])
        writer.writeSamples([rng.standard_normal(n * rate) * 50 for _ in labels])
    path = bundle_file(SMALL_CONFIG)
    found = core.embed_edf(tmp_path / "a.edf", path, notch_freq=60.0)
    model, tokenizers, meta = load_model(path)
    signals = core.preprocess_edf(tmp_path / "a.edf", meta, notch_freq=60.0)
    expected = embed(model, *tokenize(tokenizers, meta, signals), meta)
    assert list(found) == list(expected) == ["eeg_c3", "ecg", "resp_abd"]
    for name, array in found.items():
        assert array.shape == (n, 64)
        assert np.array_equal(array, expected[name])


def test_no_tokens_give_no_rows(tiny_bundle, make_tokens):
    model, _, metadata = load_model(tiny_bundle)
    tokens, mask, channel_ids = make_tokens(metadata, 5)
    assert embed(model, tokens[:, :0], mask, channel_ids, metadata)["ecg"].shape == (0, 32)
    assert embed(model, tokens, torch.zeros_like(mask), channel_ids, metadata) == {}


def test_what_does_not_fit_the_model_is_refused(tiny_bundle, make_tokens):
    model, _, metadata = load_model(tiny_bundle)
    tokens, mask, ids = make_tokens(metadata, 5)
    beyond = tokens.clone()
    beyond[0, 3, 4] = 16
    for args, message in (
        ((tokens[0], mask, ids), r"tokens must be int64 of shape \(1, T, 9\)"),
        ((tokens.int(), mask, ids), "not torch.int32"),
        ((tokens[..., :8], mask, ids), r"not torch.int64 \(1, 5, 8\)"),
        ((tokens.repeat(2, 1, 1), mask, ids), r"\(2, 5, 9\)"),
        ((beyond, mask, ids), r"columns 3\.\.4 must lie in 0\.\.15"),
        ((-tokens - 1, mask, ids), r"must lie in"),
        ((tokens, mask[:, :3], ids), r"modality_mask must have shape \(1, 4\), not \(1, 3\)"),
        ((tokens, mask, ids[0]), r"channel_ids must have shape \(1, 4\)"),
        ((tokens, mask, ids + 8), r"channel_ids must lie below 8"),
    ):
        with pytest.raises(UsageError, match=message):
            embed(model, *args, metadata)
    with pytest.raises(UsageError, match="'chunked' or 'continuous'"):
        embed(model, tokens, mask, ids, metadata, context="endless")


def test_autocast_off_cuda_is_said_not_swallowed(tiny_bundle, make_tokens):
    model, _, metadata = load_model(tiny_bundle)
    with pytest.warns(UserWarning, match="autocast_dtype acts on CUDA only"):
        embed(model, *make_tokens(metadata, 5), metadata, autocast_dtype=torch.bfloat16)


def test_unavailable_device(tiny_bundle):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UsageError, match="finds no CUDA device"):
        load_model(tiny_bundle, device="cuda")


@pytest.mark.parametrize("context", ["chunked", "continuous"])
def test_no_token_gives_no_row(tiny_bundle, context):
    model, _, metadata = load_model(tiny_bundle)
    tokens = torch.zeros(1, 0, metadata.columns[-1].stop, dtype=torch.long)
    mask, ids = torch.tensor([[True, False, True, False]]), torch.zeros(1, 4, dtype=torch.long)
    rows = embed(model, tokens, mask, ids, metadata, context=context)
    assert {name: array.shape for name, array in rows.items()} == {"eeg_c3": (0, 32), "eeg_c4": (0, 32)}


def test_a_model_of_another_type_is_refused(tiny_bundle):
    with pytest.raises(UsageError, match="dtype must be float32, bfloat16 or float16, not torch.float64"):
        load_model(tiny_bundle, dtype=torch.float64)
