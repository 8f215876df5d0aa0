"""Small bundles with random weights, and the published package as the oracle that reads the same files."""

import copy
import json
import logging
import warnings

import numpy as np
import pytest
import torch

from hypnos_bench.hypnos.random_bundle import make_config, write_random_bundle

MODEL = {
    "embed_dim": 32,
    "temporal_depth": 4,
    "temporal_heads": 2,
    "temporal_mlp_ratio": 2.0,
    "depth_dim": 16,
    "depth_depth": 1,
    "depth_heads": 2,
    "modality_attn_every_n": 2,
    "sliding_window": 12,
    "global_every_n": 2,
    "global_window": 40,
    "max_seq_len": 64,  # shorter than the sequences: tables must grow
    "qk_norm": True,
    "channel_embeddings": True,
    "swiglu": True,
    "use_cls": False,
    "share_trunk_depth_emb": True,
}
TOKENIZER = {
    "in_channels": 1,
    "token_duration_sec": 1.0,
    "embed_dim": 16,
    "n_filters": 4,
    "n_residual_layers": 1,
    "codebook_dim": 8,
    "attention_depth": 2,
    "attention_heads": 2,
    "window_size": 6,
    "transformer_dim_feedforward": 32,
    "causal": True,
    "activation": "elu",
    "norm": "weight",
}
# Levels, codebook size, rate and ratios differ from group to group; the two EEG channels share one tokenizer.
GROUPS = {"eeg": (3, 32, 16, [4, 4]), "ecg": (2, 16, 16, [2, 8]), "resp": (1, 24, 8, [4, 2])}
MODALITIES = {
    "eeg_c3": ("C3", "eeg-q3"),
    "ecg": ("ECG", "ecg-q2"),
    "eeg_c4": ("C4", "eeg-q3"),
    "resp_thx": ("THX", "resp-q1"),
}


def _config(model=None, tokenizer=None):
    tokenizers = {}
    for kind, (levels, codes, rate, ratios) in GROUPS.items():
        sizes = {"num_quantizers": levels, "codebook_size": codes, "sample_rate": rate, "ratios": ratios}
        tokenizers[f"{kind}-q{levels}"] = (kind, {**TOKENIZER, **sizes, **(tokenizer or {})})
    return make_config({**MODEL, **(model or {})}, tokenizers, MODALITIES)


@pytest.fixture(scope="session")
def tiny_config():
    """Function: bundle config of a tiny model, with overrides for its model and tokenizer options."""
    return _config


@pytest.fixture(scope="session")
def bundle_file(tmp_path_factory):
    """Function: path of a random bundle of a config, written once per session."""
    folder, known = tmp_path_factory.mktemp("bundles"), {}

    def write(config, seed=0):
        key = json.dumps([config, seed], sort_keys=True)
        if key not in known:
            known[key] = write_random_bundle(folder / f"{len(known)}.safetensors", seed=seed, config=config)
        return known[key]

    return write


@pytest.fixture(scope="session")
def tiny_bundle(tiny_config, bundle_file):
    return bundle_file(tiny_config())


@pytest.fixture(scope="session")
def make_signals():
    """Function: signals of given length per modality of a bundle, in the scale of preprocessed ones."""

    def make(metadata, seconds, absent=(), seed=0):
        signals = {}
        for i, m in enumerate(metadata.modalities):
            n = round(seconds * m.sample_rate)
            rng = np.random.default_rng([seed, i])
            rhythm = np.sin(np.cumsum(rng.random(n)) * 0.5) * (1 + np.sin(np.arange(n) / 50))
            if m.name not in absent:
                signals[m.name] = (rhythm + 0.3 * rng.standard_normal(n)).astype(np.float32)
        return signals

    return make


@pytest.fixture(scope="session")
def make_tokens():
    """Function: random tokens, mask and channel ids for a bundle."""

    def make(metadata, seconds, absent=(), seed=0):
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.zeros(1, seconds, metadata.columns[-1].stop, dtype=torch.long)
        for m, columns in zip(metadata.modalities, metadata.columns, strict=True):
            if m.name not in absent:
                shape = tokens[0, :, columns].shape
                tokens[0, :, columns] = torch.randint(m.codebook_size, shape, generator=generator)
        mask = torch.tensor([[m.name not in absent for m in metadata.modalities]])
        return tokens, mask, torch.tensor([[0, 5, 1, 7]]) * mask

    return make


@pytest.fixture(scope="session")
def our_frames():
    """Function: float32 frames (T, present modalities, D) of our implementation."""
    from hypnos_bench.hypnos.infer import frames

    def run(model, tokens, mask, channel_ids, **options):
        parts = [block for _, block in frames(model, tokens, mask, channel_ids, **options)]
        return torch.cat(parts, 1).transpose(0, 1)

    return run


class Reference:
    """The published package, without its warnings about tied weights and slow attention."""

    def load(self, path):
        from hypnos.embedding import load_model

        logging.getLogger("hypnos").setLevel(logging.ERROR)
        return load_model(str(path))

    def tokenize(self, tokenizers, metadata, signals):
        from hypnos.embedding import tokenize

        return self._quiet(tokenize, tokenizers, metadata, signals)

    def frames(self, model, tokens, mask, channel_ids, chunk_tokens):
        from hypnos.embedding.infer import temporal_context

        out = self._quiet(temporal_context, model, tokens, mask, channel_ids, chunk_tokens=chunk_tokens)
        return out[:, mask[0]]

    def embed(self, *args, **kwargs):
        from hypnos.embedding import embed

        return self._quiet(embed, *args, **kwargs)

    def _quiet(self, call, *args, **kwargs):
        torch._dynamo.reset()  # older versions of torch do not survive many shapes in one process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*args, **kwargs)


@pytest.fixture(scope="session")
def reference():
    return Reference()


@pytest.fixture
def edited_bundle(tiny_bundle, tmp_path):
    """Function: a copy of the tiny bundle with its header, metadata or tensors changed by the caller."""

    def edit(change=None, change_marks=None, change_config=None):
        raw = tiny_bundle.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        data = raw[8 + length :]
        marks = header.pop("__metadata__")
        tensors = {
            name: (entry["dtype"], list(entry["shape"]), data[slice(*entry["data_offsets"])])
            for name, entry in header.items()
        }
        if change:
            change(tensors)
        config = copy.deepcopy(json.loads(marks["config"]))
        if change_config:
            change_config(config)
        marks["config"] = json.dumps(config)
        if change_marks:
            change_marks(marks)
        path = tmp_path / "edited.safetensors"
        path.write_bytes(pack(tensors, marks))
        return path

    return edit


def pack(tensors, marks):
    """A safetensors file of (dtype, shape, bytes) per name."""
    header, body = {"__metadata__": marks}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + body
