"""Bundle configs: the published package reads the same out of them, and what does not fit is refused by name."""

import dataclasses
import inspect

import pytest

from hypnos_bench.errors import DataError
from hypnos_bench.hypnos.config import CHANNEL_ROWS, ModelConfig, TokenizerConfig, parse_config


def test_defaults_are_those_of_the_published_package():
    from hypnos.models.rq_transformer import MultiModalRQTransformer
    from hypnos.models.tokenizer import SignalTokenizer
    from hypnos.settings import CHANNEL_REGISTRY

    for ours, theirs in ((ModelConfig, MultiModalRQTransformer), (TokenizerConfig, SignalTokenizer)):
        expected = {
            n: p.default
            for n, p in inspect.signature(theirs.__init__).parameters.items()
            if n not in ("self", "modality_configs")
        }
        found = {f.name: f.default for f in dataclasses.fields(ours)}
        assert {n: list(v) if isinstance(v, tuple) else v for n, v in found.items()} == expected
    assert dict(CHANNEL_ROWS) == CHANNEL_REGISTRY


def test_public_fields_are_those_of_the_published_package(tiny_config):
    from hypnos.embedding.manifest import parse_config as published

    ours, theirs = parse_config(tiny_config()), published(tiny_config())
    assert ours.unique_tokenizers == theirs.unique_tokenizers
    assert (ours.model_target, ours.model_kwargs) == (theirs.model_target, theirs.model_kwargs)
    for a, b in zip(ours.modalities, theirs.modalities, strict=True):
        assert {**dataclasses.asdict(a), "channels": list(a.channels)} == dataclasses.asdict(b)
    for stem, spec in theirs.tokenizers.items():
        for f in dataclasses.fields(spec):
            expected = getattr(spec, f.name)
            found = getattr(ours.tokenizers[stem], f.name)
            if f.name == "tokenizer_kwargs":
                found = {**found, "ratios": list(found["ratios"])}
            assert found == expected


def test_columns_and_leaders(tiny_config):
    metadata = parse_config(tiny_config())
    assert metadata.columns == (slice(0, 3), slice(3, 5), slice(5, 8), slice(8, 9))
    assert metadata.leaders == ("eeg_c3", "ecg", "eeg_c3", "resp_thx")


def test_windows_and_modality_layers():
    c = ModelConfig(sliding_window=64, global_every_n=4, global_window=256, modality_attn_every_n=2)
    assert [c.window(i) for i in range(8)] == [64, 64, 64, 256] * 2
    assert [i for i in range(8) if c.modality_layer_after(i)] == [1, 3, 5, 7]
    c = ModelConfig(modality_attn_start_layer=3, modality_attn_every_n=2)
    assert [i for i in range(8) if c.modality_layer_after(i)] == [4, 6]
    assert c.window(0) is None


def put(*keys, value):
    def change(config):
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


def drop(*keys):
    def change(config):
        for key in keys[:-1]:
            config = config[key]
        del config[keys[-1]]

    return change


WRONG = {
    "no modalities": (put("modalities", value=[]), "no modalities"),
    "modalities not a list": (put("modalities", value={}), "modalities={} is not of type list"),
    "lacks model_target": (drop("model_target"), "lacks 'model_target'"),
    "lacks a field": (drop("modalities", 1, "channels"), "modality 1: the config lacks 'channels'"),
    "modality no object": (put("modalities", 0, value=3), "modality 0: not a JSON object"),
    "strange channel": (put("modalities", 1, "channels", value=["O2"]), "'O2'"),
    "two durations": (put("modalities", 0, "token_duration_sec", value=2.0), "one token_duration_sec"),
    "levels disagree": (put("modalities", 0, "num_quantizers", value=8), "num_quantizers is 8 for modality 'eeg_c3'"),
    "unknown stem": (put("modalities", 0, "tokenizer", value="eeg-q33"), "Did you mean 'eeg-q3'"),
    "same name": (put("modalities", 0, "name", value="ecg"), "not unique"),
    "no signal type": (put("modalities", 0, "signal_type", value=""), "no signal_type"),
    "unknown option": (put("model_kwargs", "slidng_window", value=3), "Did you mean 'sliding_window'"),
    "modality_configs": (put("model_kwargs", "modality_configs", value=[]), "modality_configs"),
    "text for a number": (put("model_kwargs", "embed_dim", value="32"), "embed_dim='32' is not of type"),
    "true for a number": (put("model_kwargs", "temporal_depth", value=True), "temporal_depth=True"),
    "number for a switch": (put("model_kwargs", "swiglu", value=1), "swiglu=1"),
    "heads": (put("model_kwargs", "temporal_heads", value=3), "3 heads"),
    "endless layers": (put("model_kwargs", "temporal_depth", value=10**9), "temporal_depth must lie between"),
    "endless width": (put("model_kwargs", "embed_dim", value=2**40), "embed_dim must lie between"),
    "not causal": (put("model_kwargs", "causal", value=False), "causal=false"),
    "zero window": (put("model_kwargs", "sliding_window", value=0), "sliding_window must be at least 1"),
    "negative start": (put("model_kwargs", "modality_attn_start_layer", value=-1), "must not be negative"),
    "never": (put("model_kwargs", "modality_attn_every_n", value=0), "modality_attn_every_n must lie between"),
    "ratios": (put("tokenizers", "eeg-q3", "tokenizer_kwargs", "ratios", value=[4, 8]), "32 samples per token"),
    "fractional ratio": (put("tokenizers", "eeg-q3", "tokenizer_kwargs", "ratios", value=[4, 4.0]), "ratios"),
    "vae": (put("tokenizers", "eeg-q3", "tokenizer_kwargs", "mode", value="vae"), "mode='vae' cannot be run"),
    "instance norm": (put("tokenizers", "ecg-q2", "tokenizer_kwargs", "norm", value="instance"), "norm='instance'"),
    "acausal tokenizer": (put("tokenizers", "ecg-q2", "tokenizer_kwargs", "causal", value=False), "causal=False"),
    "channels": (put("tokenizers", "ecg-q2", "tokenizer_kwargs", "in_channels", value=2), "in_channels=2"),
    "tokenizer disagrees": (put("tokenizers", "ecg-q2", "codebook_size", value=17), "17 for the tokenizer but 16"),
    "tokenizer no object": (put("tokenizers", "ecg-q2", value=None), "'ecg-q2': not a JSON object"),
    "levels": (put("tokenizers", "ecg-q2", "tokenizer_kwargs", "num_quantizers", value=0), "num_quantizers"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named_in_one_line(tiny_config, change, message):
    config = tiny_config()
    change(config)
    with pytest.raises(DataError) as error:
        parse_config(config, where="a.safetensors")
    assert message in str(error.value)
    assert str(error.value).startswith("a.safetensors")
    assert "\n" not in str(error.value)


def test_unknown_format_version(tiny_config):
    with pytest.raises(DataError, match="format_version '2' is unknown"):
        parse_config(tiny_config(), file_metadata={"format_version": "2"})


def test_untrained_mark(tiny_config):
    assert parse_config(tiny_config(), file_metadata={"untrained": "true"}).untrained
    assert not parse_config(tiny_config()).untrained


def test_whole_numbers_written_with_a_point_are_whole_numbers(tiny_config):
    config = tiny_config()
    config["modalities"][0]["sample_rate"] = 16.0
    assert parse_config(config).modalities[0].sample_rate == 16
    config["modalities"][0]["sample_rate"] = 16.5
    with pytest.raises(DataError, match=r"sample_rate=16\.5"):
        parse_config(config)
