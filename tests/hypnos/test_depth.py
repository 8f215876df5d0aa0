"""Codes of one second from given frames, against the published package, and how codes are drawn."""

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError, UsageError
from hypnos_bench.hypnos.bundle import Bundle
from hypnos_bench.hypnos.depth import DepthTransformer, Sampling
from hypnos_bench.hypnos.infer import load_model

MODELS = {
    "as-released": {},
    "gelu": {"swiglu": False},
    "separate": {"share_trunk_depth_emb": False},
    "separate-equal-widths": {"share_trunk_depth_emb": False, "depth_dim": None},
    "shared-equal-widths": {"depth_dim": 32},
    "tied-heads": {"share_trunk_depth_emb": False, "tie_depth_io": True},
    "tied-heads-equal-widths": {"share_trunk_depth_emb": False, "tie_depth_io": True, "depth_dim": None},
    "all-tied": {"tie_depth_io": True},
    "no-layers": {"depth_depth": 0},
    "cls": {"use_cls": True},
    "cls-gelu-equal-widths": {"use_cls": True, "swiglu": False, "depth_dim": None, "mod_context_dropout_p": 0.1},
    "cls-alone": {"use_cls": True, "disable_cross_modal_attention": True},
}
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def loaded(tiny_config, bundle_file, reference):
    """Function: path, our trunk and metadata, and the published model, of a tiny bundle with two depth layers."""
    known = {}

    def load(options):
        key = tuple(sorted(options.items(), key=str))
        if key not in known:
            path = bundle_file(tiny_config(model={"depth_depth": 2, **options}))
            model, _, metadata = load_model(path)
            known[key] = path, model, metadata, reference.load(path)[0]
        return known[key]

    return load


def our_depth(path, model, metadata, present):
    with Bundle(path, generating=True) as bundle:
        return DepthTransformer(model, metadata, bundle.weights("model/"), present)


def their_codes(model, metadata, present, frames, sampling, seed=0):
    """Codes per modality by the published package; absent modalities get frames of zeros."""
    every = torch.zeros(1, len(metadata.modalities), 1, frames.shape[-1])
    every[0, list(present), 0] = frames
    mask = torch.tensor([[i in present for i in range(len(metadata.modalities))]])
    summaries = None
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        if metadata.config.use_cls:
            trunk = model.temporal_transformer
            summaries = trunk.cls_head(every, attn_mask=trunk.build_cross_attn_mask(mask, 1))
        options = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        return [
            model.depth_transformer.sample(
                i,
                every[:, i, 0],
                generator=generator,
                cls_context=None if summaries is None else summaries[:, i, 0],
                **options,
            )[0]
            for i in range(len(metadata.modalities))
        ]


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (1,), (2, 3), (0, 2)], ids=str)
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_codes_are_those_of_the_published_package(loaded, options, present):
    path, model, metadata, theirs = loaded(options)
    depth = our_depth(path, model, metadata, present)
    seen = set()
    for seed in range(6):
        frames = 2 * torch.randn(len(present), 32, generator=torch.Generator().manual_seed(seed))
        for sampling in (GREEDY, Sampling(), Sampling(1.4, top_k=4, top_p=1.0), Sampling(1.0, top_k=9, top_p=0.6)):
            expected = their_codes(theirs, metadata, present, frames, sampling, seed)
            found = depth.sample(frames, sampling, torch.Generator().manual_seed(seed))
            for i, columns in enumerate(metadata.columns):
                wanted = expected[i] if i in present else torch.zeros_like(expected[i])
                assert torch.equal(found[columns], wanted)
            seen.add(tuple(found.tolist()))
    assert len(seen) > 8  # the codes do depend on frames and draws


def test_modalities_do_not_see_each_other(loaded):
    path, model, metadata, _ = loaded({})
    frames = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    together = our_depth(path, model, metadata, range(4)).sample(frames, GREEDY)
    for i, columns in enumerate(metadata.columns):
        alone = our_depth(path, model, metadata, [i]).sample(frames[i : i + 1], GREEDY)
        assert torch.equal(alone[columns], together[columns])


def test_as_many_random_numbers_are_used_whatever_is_asked_for(loaded):
    path, model, metadata, _ = loaded({})
    states = []
    for present in ((0, 1, 2, 3), (2,)):
        generator = torch.Generator().manual_seed(5)
        our_depth(path, model, metadata, present).sample(torch.zeros(len(present), 32), Sampling(), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)
    untouched = torch.Generator().manual_seed(5)
    our_depth(path, model, metadata, [0]).sample(torch.zeros(1, 32), GREEDY, untouched)
    assert torch.equal(untouched.get_state(), torch.Generator().manual_seed(5).get_state())


@pytest.mark.parametrize("codes", [2, 33, 2048])
def test_picking_is_torch_multinomial(codes):
    mine, theirs = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(50, codes, generator=torch.Generator().manual_seed(4))
    for row in logits[:, None]:
        noise = torch.empty(1, codes).exponential_(generator=mine)
        found, _ = Sampling(1.0, 0, 1.0).pick(row, noise)
        assert torch.equal(found, torch.multinomial(row.softmax(-1), 1, generator=theirs)[:, 0])


def test_frequencies_follow_the_cut_distribution():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    generator = torch.Generator().manual_seed(0)
    noise = torch.empty(40_000, 4).exponential_(generator=generator)

    def shares(*options):
        codes, _ = Sampling(*options).pick(logits.expand(40_000, 4), noise)
        return (torch.bincount(codes, minlength=4) / 40_000).tolist()

    assert shares(1.0, 0, 1.0) == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.01)
    assert shares(0.5, 0, 1.0) == pytest.approx([16 / 30, 9 / 30, 4 / 30, 1 / 30], abs=0.01)
    assert shares(1.0, 2, 1.0) == pytest.approx([4 / 7, 3 / 7, 0, 0], abs=0.01)
    # 0.4 + 0.3 is not yet more than 0.75: the third is kept too.
    assert shares(1.0, 0, 0.75) == pytest.approx([4 / 9, 3 / 9, 2 / 9, 0], abs=0.01)
    assert shares(1.0, 0, 1e-6) == shares(1.0, 1, 1.0) == shares(0.0, 0, 1.0) == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": float("nan")}, "temperature must be a finite number, not nan"),
        ({"temperature": float("inf")}, "temperature must be a finite number, not inf"),
        ({"temperature": None}, "temperature must be a finite number, not None"),
        ({"temperature": 1e-40}, "temperature must be at least 1e-06, or 0 for the most likely code, not 1e-40"),
        ({"top_p": float("nan")}, "top_p must be a finite number, not nan"),
        ({"top_p": "0.9"}, "top_p must be a finite number, not '0.9'"),
        ({"top_k": 2.5}, "top_k must be a whole number, not 2.5"),
    ],
)
def test_values_that_cannot_be_sampled_with(values, message):
    with pytest.raises(UsageError) as error:
        Sampling(**values)
    assert str(error.value) == message


def test_the_lowest_temperature_and_what_lies_outside(loaded):
    """Values that the published package takes to mean "all" or "most likely" do so here."""
    path, model, metadata, theirs = loaded({})
    depth, frames = our_depth(path, model, metadata, (0, 1, 2, 3)), torch.randn(4, 32)
    for sampling in (Sampling(-1.0), Sampling(1e-6), Sampling(1.3, -4, 1.5), Sampling(np.float32(1.5), np.int64(3), 0)):
        expected = torch.cat(their_codes(theirs, metadata, (0, 1, 2, 3), frames, sampling))
        assert torch.equal(depth.sample(frames, sampling, torch.Generator().manual_seed(0)), expected)


def test_damaged_weights_are_named(loaded):
    path, model, metadata, _ = loaded({})
    depth = our_depth(path, model, metadata, [1])
    depth.positions.data[1, 0] = float("nan")
    for sampling in (GREEDY, Sampling()):
        with pytest.raises(DataError, match="not finite: the weights are damaged"):
            depth.sample(torch.zeros(1, 32), sampling)


def test_heads_must_divide_the_width(tiny_config, bundle_file):
    path = bundle_file(tiny_config(model={"depth_heads": 3}))
    model, _, metadata = load_model(path)  # embedding does not mind
    with pytest.raises(DataError, match="depth_heads 3 does not divide depth_dim 16"):
        our_depth(path, model, metadata, [0])


def test_the_trunk_keeps_its_tables(loaded):
    path, model, metadata, _ = loaded({})
    before = [id(p) for p in model.parameters()]
    depth = our_depth(path, model, metadata, [0, 1])
    mine = {p.data_ptr() for p in depth.parameters()}
    assert mine.isdisjoint(p.data_ptr() for p in model.parameters())
    assert [id(p) for p in model.parameters()] == before
