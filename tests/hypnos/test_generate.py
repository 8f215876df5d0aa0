"""Roll-outs and signals against the published package, and what carrying keys must keep."""

import warnings

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos import generate_tokens, load_model, synthesize
from hypnos_bench.hypnos.bundle import Bundle
from hypnos_bench.hypnos.temporal import Stream

MODELS = {
    "as-released": {},
    "whole-past": {"sliding_window": None, "global_every_n": None, "global_window": None},
    "cls": {"use_cls": True, "mod_context_dropout_p": 0.1},
    "no-cross-modal": {"disable_cross_modal_attention": True, "use_cls": True},
    "tied": {"tie_depth_io": True},
}
# How codes are drawn, and of which modalities.
CALLS = {
    "greedy, all": ({"temperature": 0.0}, None),
    "defaults, one": ({}, ["ecg"]),
    "top-k, not in order": ({"temperature": 1.2, "top_k": 5, "top_p": 1.0}, ["resp_thx", "eeg_c4"]),
}


class Published:
    """Generation by the published package."""

    def __init__(self, reference, path):
        self.model, self.tokenizers, self.metadata = reference.load(path)

    def signals(self, **options):
        from hypnos.embedding.generate import synthesize as published

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return published(self.model, self.tokenizers, self.metadata, **options)

    def tokens(self, metadata, asked, prompt=None, **options):
        names = [m.name for m in metadata.modalities]
        mask = torch.tensor([[asked is None or name in asked for name in names]])
        prompt = torch.zeros(1, 0, metadata.columns[-1].stop, dtype=torch.long) if prompt is None else prompt
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            return self.model.generate(prompt, torch.tensor([[0, 5, 1, 7]]), mask, **options)


@pytest.fixture(scope="module")
def loaded(tiny_config, bundle_file, reference):
    """Function: what load_model gives, and the published package, for a tiny bundle."""
    known = {}

    def load(**options):
        path = bundle_file(tiny_config(model={"depth_depth": 2, **options}))
        if path not in known:
            known[path] = load_model(path), Published(reference, path)
        return known[path]

    return load


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def asked_columns(metadata, asked):
    """Which columns of the token tensor belong to the modalities asked for."""
    chosen = torch.zeros(metadata.columns[-1].stop, dtype=torch.bool)
    for m, columns in zip(metadata.modalities, metadata.columns, strict=True):
        chosen[columns] = asked is None or m.name in asked
    return chosen


@pytest.mark.parametrize(("draw", "asked"), CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_signals_are_those_of_the_published_package(loaded, options, draw, asked):
    ours, published = loaded(**options)
    expected = published.signals(modalities=asked, num_steps=16, generator=seeded(4), **draw)
    found = synthesize(*ours, modalities=asked, num_steps=16, generator=seeded(4), **draw)
    assert list(found) == list(expected)
    for name, signal in found.items():
        assert signal.dtype == np.float32
        assert signal.shape == expected[name].shape
        np.testing.assert_allclose(signal, expected[name], atol=2e-5)
        assert signal.std() > 0.1


@pytest.mark.parametrize("draw", [{"temperature": 0.0}, {"temperature": 0.7, "top_p": 0.95}], ids=["greedy", "seeded"])
@pytest.mark.parametrize("asked", [None, ["eeg_c4", "resp_thx"]], ids=["all", "two"])
def test_tokens_are_equal_step_for_step(loaded, make_tokens, draw, asked):
    """Past all windows (40) and the prepared rotations (64), with a prompt of more than one block."""
    ours, published = loaded()
    metadata = ours[2]
    prompt = make_tokens(metadata, 70)[0]
    expected = published.tokens(metadata, asked, prompt, num_steps=12, generator=seeded(), **draw)
    found = generate_tokens(*ours, modalities=asked, prompt_tokens=prompt, num_steps=12, generator=seeded(), **draw)
    assert found.shape == expected.shape == (1, 82, 9)
    assert found.dtype == torch.long
    chosen = asked_columns(metadata, asked)
    assert torch.equal(found[..., chosen], expected[..., chosen])
    assert torch.equal(found[:, :70], prompt)
    assert not found[:, 70:, ~chosen].any()
    assert len(found[0, 70:].unique(dim=0)) > 5  # not one code for ever


def test_what_is_generated_is_what_the_model_expects(loaded):
    """A greedy roll-out is its own teacher-forced prediction, 300 steps long."""
    ours, published = loaded()
    metadata = ours[2]
    tokens = generate_tokens(*ours, num_steps=300, temperature=0.0)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        context = published.model(tokens, torch.tensor([[0, 5, 1, 7]]), None)["temporal_context"]
        for i, columns in enumerate(metadata.columns):
            own = tokens[..., columns]
            hidden, heads = published.model.depth_transformer(i, context[:, i], own)
            for level, head in enumerate(heads):
                logits = head(hidden[0, :, level])
                chosen = logits.gather(-1, own[0, :, level : level + 1])[:, 0]
                # The largest logit, or one that rounding cannot tell from it.
                assert float((logits.amax(-1) - chosen).max()) <= 1e-5


def test_every_second_goes_through_the_model_once(loaded, make_tokens, monkeypatch):
    ours, _ = loaded()
    seconds = []
    advance = Stream.advance
    monkeypatch.setattr(
        Stream, "advance", lambda self, tokens: (seconds.append(tokens.shape[1]), advance(self, tokens))[1]
    )
    generate_tokens(*ours, num_steps=50)
    assert seconds == [0] + [1] * 49
    seconds.clear()
    generate_tokens(*ours, num_steps=3, prompt_tokens=make_tokens(ours[2], 130)[0])
    assert seconds == [64, 64, 2, 1, 1]


def test_seeds_and_the_global_generator(loaded):
    ours, _ = loaded()
    one, same, other = (generate_tokens(*ours, num_steps=20, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    torch.manual_seed(1)
    assert torch.equal(generate_tokens(*ours, num_steps=20), one)


def test_a_prompt_alone_is_decoded(loaded, make_tokens):
    ours, published = loaded()
    prompt = make_tokens(ours[2], 12)[0]
    expected = published.signals(num_steps=0, prompt_tokens=prompt)
    found = synthesize(*ours, num_steps=0, prompt_tokens=prompt.int())
    for name, signal in found.items():
        np.testing.assert_allclose(signal, expected[name], atol=1e-5)


def test_a_recording_goes_on(tiny_bundle, make_signals):
    from hypnos_bench.hypnos import tokenize

    model, tokenizers, metadata = load_model(tiny_bundle)
    tokens, _, _ = tokenize(tokenizers, metadata, make_signals(metadata, 20))
    longer = synthesize(model, tokenizers, metadata, prompt_tokens=tokens, num_steps=10, temperature=0)
    known = synthesize(model, tokenizers, metadata, prompt_tokens=tokens, num_steps=0)
    for m in metadata.modalities:
        assert len(longer[m.name]) == 30 * m.sample_rate
        np.testing.assert_allclose(longer[m.name][: 20 * m.sample_rate], known[m.name], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"share_trunk_depth_emb": False, "depth_dim": None}, {"tie_depth_io": True}])
def test_shorter_types_generate(loaded, tiny_config, bundle_file, dtype, options):
    path = bundle_file(tiny_config(model={"depth_depth": 2, **options}))
    signals = synthesize(*load_model(path, dtype=dtype), num_steps=10, generator=seeded())
    assert all(np.isfinite(s).all() and s.dtype == np.float32 for s in signals.values())


def test_progress_sees_every_step(loaded):
    ours, _ = loaded()
    calls = []

    def progress(steps, total, text):
        calls.append((total, text))
        for step in steps:
            calls.append(tuple(step.shape))
            yield step

    synthesize(*ours, num_steps=8, progress=progress)
    assert calls == [(8, "generate")] + [(9,)] * 8


def test_decoder_and_depth_are_read_when_generating_only(tiny_bundle, make_signals, monkeypatch):
    from hypnos_bench.hypnos import embed, tokenize

    names = []
    read = Bundle.read
    monkeypatch.setattr(Bundle, "read", lambda self, name: (names.append(name), read(self, name))[1])
    model, tokenizers, metadata = load_model(tiny_bundle)
    embed(model, *tokenize(tokenizers, metadata, make_signals(metadata, 20)), metadata)
    generating = ("/decoder", "depth", "project_out")
    assert not [name for name in names if any(word in name for word in generating)]
    names.clear()
    synthesize(model, tokenizers, metadata, modalities=["ecg"], num_steps=8)
    stems = {name.split("/")[1] for name in names if name.startswith("tok/")}
    assert stems == {"ecg-q2"}
    # Only the tables of what is asked for, and each tensor once.
    assert not [name for name in names if "eeg_c3" in name]
    assert len(set(names)) == len(names)


def test_all_that_generating_needs_is_marked(tiny_config, bundle_file):
    """Every tensor marked for generation is read by generating all modalities; nothing unmarked is."""
    for options in (*MODELS.values(), {"share_trunk_depth_emb": False, "tie_depth_io": True}):
        names = set()
        with pytest.MonkeyPatch.context() as patch:
            model, tokenizers, metadata = load_model(bundle_file(tiny_config(model=options)))
            read = Bundle.read
            noted = names.add
            patch.setattr(Bundle, "read", lambda self, name, read=read, noted=noted: (noted(name), read(self, name))[1])
            synthesize(model, tokenizers, metadata, num_steps=8)
        with Bundle(tokenizers.path) as bundle:
            marked = {name for name, slot in bundle.layout.items() if slot.generates}
            needed = {name for name, slot in bundle.layout.items() if slot.needed}
        # With own tables, the embedding of the last level's code is used by nobody, unless it is the head.
        unused = {name for name in marked - names if "per_group_embeddings" not in name}
        assert not unused
        assert not names - marked - needed


GENERATING = {
    "depth": "model/depth_transformer.norm.weight",
    "head": "model/depth_transformer.per_group_output_heads.ecg.1.bias",
    "decoder": "tok/ecg-q2/decoder.final_conv.conv.bias",
    "projection": "tok/ecg-q2/project_out.weight",
}


@pytest.mark.parametrize("gone", GENERATING.values(), ids=GENERATING)
def test_a_bundle_for_embedding_embeds_and_says_why_it_cannot_generate(edited_bundle, make_signals, gone):
    from hypnos_bench.hypnos import embed, tokenize

    model, tokenizers, metadata = load_model(edited_bundle(change=lambda tensors: tensors.pop(gone)))
    assert embed(model, *tokenize(tokenizers, metadata, make_signals(metadata, 10)), metadata)
    for call in (synthesize, generate_tokens):
        with pytest.raises(DataError, match=f"{gone}' .* is missing; this file can embed but not generate") as error:
            call(model, tokenizers, metadata)
        assert str(tokenizers.path) in str(error.value)
        assert "\n" not in str(error.value)


def test_wrong_shape_is_found_when_generating(edited_bundle):
    name = "tok/ecg-q2/project_out.bias"

    def shorten(tensors):
        dtype, _, data = tensors[name]
        tensors[name] = (dtype, [8], data[:32])

    loaded = load_model(edited_bundle(change=shorten))
    with pytest.raises(DataError, match=r"project_out.bias' has shape \[8\], its config implies \[16\]"):
        synthesize(*loaded)


@pytest.mark.parametrize(
    "options", [{}, {"tie_depth_io": True}, {"share_trunk_depth_emb": False, "tie_depth_io": True}]
)
def test_tied_copies_may_replace_what_they_copy(tiny_config, bundle_file, tmp_path, options):
    """A file that names tied weights by their copies alone generates the same."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = bundle_file(tiny_config(model=options))
    with Bundle(path) as bundle:
        aliases = {name: slot.alias_of for name, slot in bundle.layout.items() if slot.alias_of}
    with safe_open(path, "pt") as file:
        tensors, marks = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    assert aliases
    for alias, owner in aliases.items():
        if owner in tensors:
            tensors[alias] = tensors[owner].clone()
    for owner in set(aliases.values()):
        del tensors[owner]
    renamed = tmp_path / "renamed.safetensors"
    save_file(tensors, renamed, marks)
    found = generate_tokens(*load_model(renamed), num_steps=10, generator=seeded())
    assert torch.equal(found, generate_tokens(*load_model(path), num_steps=10, generator=seeded()))


def test_another_bundle_in_the_same_place(tiny_config, bundle_file, tmp_path):
    path = tmp_path / "hypnos.safetensors"
    path.write_bytes(bundle_file(tiny_config()).read_bytes())
    loaded = load_model(path)
    path.write_bytes(bundle_file(tiny_config(model={"depth_depth": 2})).read_bytes())
    with pytest.raises(DataError, match="the bundle changed since it was loaded; load it again"):
        synthesize(*loaded)
    path.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        synthesize(*loaded)


def test_a_damaged_decoder_is_named(edited_bundle):
    def damage(tensors):
        name = "tok/ecg-q2/decoder.final_conv.conv.bias"
        dtype, shape, _ = tensors[name]
        tensors[name] = (dtype, shape, np.array([np.nan], "<f4").tobytes())

    loaded = load_model(edited_bundle(change=damage))
    assert synthesize(*loaded, modalities=["eeg_c3"], num_steps=8)
    with pytest.raises(DataError, match="signal of ecg is not finite: decoder ecg-q2 is damaged"):
        synthesize(*loaded, num_steps=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["ecgg"]}, "unknown modality 'ecgg'. Did you mean 'ecg'\\? Known: eeg_c3, ecg"),
        ({"modalities": []}, "no modality is asked for; choose from eeg_c3"),
        ({"num_steps": 6}, "6 s of eeg_c3 are too short to be decoded; prompt and new steps must make 7 s"),
        ({"num_steps": -1, "prompt_tokens": torch.zeros(1, 20, 9, dtype=torch.long)}, "num_steps must not be negative"),
        ({"prompt_tokens": torch.zeros(1, 20, 8, dtype=torch.long)}, r"of shape \(1, S0, 9\), not .* \(1, 20, 8\)"),
        ({"prompt_tokens": torch.zeros(2, 20, 9, dtype=torch.long)}, r"of shape \(1, S0, 9\), not .* \(2, 20, 9\)"),
        ({"prompt_tokens": torch.zeros(1, 20, 9)}, "a Tensor of whole numbers .*, not torch.float32"),
        ({"prompt_tokens": torch.zeros(20, dtype=torch.long)}, r"of shape \(1, S0, 9\), not torch.int64 \(20,\)"),
        ({"prompt_tokens": np.zeros((1, 20, 9), int)}, "must be a Tensor of whole numbers .*, not ndarray"),
        ({"prompt_tokens": torch.zeros(1, 20, 9, dtype=torch.cfloat)}, "not torch.complex64"),
        ({"prompt_tokens": torch.zeros(1, 20, 9, dtype=torch.bool)}, "not torch.bool"),
        ({"modalities": "ecg"}, r"modalities must be a list of names, not text: \['ecg'\]"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"top_p": float("nan")}, "top_p must be a finite number"),
        ({"prompt_tokens": torch.full((1, 20, 9), 31)}, r"prompt_tokens of ecg must lie in 0\.\.15"),
        ({"prompt_tokens": torch.full((1, 20, 9), -1)}, r"prompt_tokens of eeg_c3 must lie in 0\.\.31"),
    ],
)
def test_mistakes_are_one_line(loaded, options, message):
    ours, _ = loaded()
    with pytest.raises(UsageError, match=message) as error:
        synthesize(*ours, **options)
    assert "\n" not in str(error.value)
    if "too short" not in message:  # tokens need no decoder
        with pytest.raises(UsageError, match=message):
            generate_tokens(*ours, **options)


def test_metadata_of_another_bundle_are_refused(loaded):
    (model, tokenizers, _), _ = loaded()
    (_, _, other), _ = loaded(use_cls=True)
    for call in (synthesize, generate_tokens):
        for wrong in (other, None):
            with pytest.raises(UsageError, match="metadata is not that of .*; give all three that one load_model"):
                call(model, tokenizers, wrong)


def test_no_steps_read_no_depth_transformer(loaded, make_tokens, monkeypatch):
    ours, _ = loaded()
    names = []
    read = Bundle.read
    monkeypatch.setattr(Bundle, "read", lambda self, name: (names.append(name), read(self, name))[1])
    prompt = make_tokens(ours[2], 12)[0]
    given = generate_tokens(*ours, num_steps=0, prompt_tokens=prompt)
    assert torch.equal(given, prompt)
    assert given.data_ptr() != prompt.data_ptr()
    assert not names
    assert synthesize(*ours, num_steps=0, prompt_tokens=prompt)
    assert names
    assert not [name for name in names if name.startswith("model/")]


def test_other_tokenizers_are_refused(loaded):
    (model, tokenizers, metadata), _ = loaded()
    with pytest.raises(UsageError, match="give the tokenizers that load_model returned"):
        synthesize(model, dict(tokenizers), metadata)


def test_codes_of_modalities_not_asked_for_may_be_anything(loaded):
    ours, _ = loaded()
    prompt = torch.full((1, 20, 9), 31)  # beyond the codebook of ecg
    assert synthesize(*ours, modalities=["eeg_c4"], prompt_tokens=prompt, num_steps=5)["eeg_c4"].shape == (25 * 16,)
