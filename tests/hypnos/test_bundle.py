"""The bundle file: found or explained, distrusted, and read only where needed."""

import json
import warnings

import numpy as np
import pytest
import torch

from hypnos_bench.errors import DataError
from hypnos_bench.hypnos.bundle import DEFAULT_REPO, Bundle, resolve_bundle
from hypnos_bench.hypnos.infer import load_model


def header_of(path):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def with_header(path, header, data):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    return path


def refuses(path, message):
    with pytest.raises(DataError) as error:
        load_model(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_values_are_those_the_safetensors_library_reads(tiny_bundle):
    from safetensors.torch import load_file

    expected = load_file(tiny_bundle)
    with Bundle(tiny_bundle) as bundle:
        needed = [name for name, slot in bundle.layout.items() if slot.needed]
        assert len(needed) > 50
        for name in needed:
            assert torch.equal(bundle.read(name), expected[name])


def test_only_what_embedding_needs_is_read(tiny_bundle):
    from hypnos_bench.hypnos.temporal import RQTransformer
    from hypnos_bench.hypnos.tokenizer import SignalTokenizer

    with Bundle(tiny_bundle) as bundle:
        reads = []
        read = bundle.read
        bundle.read = lambda name: (reads.append(name), read(name))[1]
        RQTransformer(bundle.metadata, bundle.weights("model/"))
        for stem, spec in bundle.metadata.tokenizers.items():
            SignalTokenizer(spec.config, bundle.weights(f"tok/{stem}/"))
        # Everything needed, once, and nothing else.
        assert sorted(reads) == sorted(name for name, slot in bundle.layout.items() if slot.needed)
        assert bundle.bytes_read == sum(4 * int(np.prod(bundle.layout[name].shape)) for name in reads)
        assert bundle.bytes_read < 0.5 * tiny_bundle.stat().st_size
    useless = ("/decoder", "depth_transformer", "ema_", "rope", "usage_count", "cls_head", "project_out")
    assert not [name for name in reads if any(word in name for word in useless)]


def test_the_model_alone_is_loaded_first(tiny_bundle, monkeypatch):
    names = []
    read = Bundle.read
    monkeypatch.setattr(Bundle, "read", lambda self, name: (names.append(name), read(self, name))[1])
    _, tokenizers, _ = load_model(tiny_bundle)
    assert {name.split("/")[0] for name in names} == {"model"}
    names.clear()
    _ = tokenizers["ecg"]
    assert {name.split("/")[1] for name in names} == {"ecg-q2"}


def test_file_folder_and_missing(tiny_bundle, tmp_path):
    assert resolve_bundle(tiny_bundle) == tiny_bundle
    with pytest.raises(DataError, match=r"the folder holds no hypnos\.safetensors; download it from https://"):
        resolve_bundle(tmp_path)
    (tmp_path / "hypnos.safetensors").write_bytes(tiny_bundle.read_bytes())
    assert resolve_bundle(str(tmp_path)) == tmp_path / "hypnos.safetensors"
    for name in ("nowhere.safetensors", "models/nowhere.safetensors", "/no/such/folder", "a/b/c", ""):
        if name:
            with pytest.raises(DataError, match=f"{name}: no such file or folder, and not a Hub repository"):
                resolve_bundle(name)


@pytest.mark.parametrize("name", [DEFAULT_REPO, f"hf://{DEFAULT_REPO}"])
def test_hub_repository(monkeypatch, tiny_bundle, name):
    import huggingface_hub

    asked = {}
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda **kw: asked.update(kw) or str(tiny_bundle))
    assert resolve_bundle(name) == tiny_bundle
    # The copy in the cache is asked for first, and nothing else when it is there.
    assert asked == {"repo_id": "joncarter/hypnos", "filename": "hypnos.safetensors", "local_files_only": True}


class Session:
    """Stands in for the Hub client's connection."""

    def __init__(self, failure=None):
        self.failure, self.heads = failure, []

    def head(self, url, timeout):
        self.heads.append((url, timeout))
        if self.failure is not None:
            raise self.failure


def test_hub_is_asked_once_before_a_download(monkeypatch, tiny_bundle):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    session = Session()

    def download(local_files_only=False, **kw):
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(tiny_bundle)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    assert resolve_bundle(DEFAULT_REPO) == tiny_bundle
    assert len(session.heads) == 1
    assert session.heads[0][1] <= 10


def test_hub_out_of_reach_says_what_to_do(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    transport = type("ConnectError", (Exception,), {"__module__": "httpx._exceptions"})
    for failure in (LocalEntryNotFoundError("offline\nlong story"), transport("no"), OSError(28, "full")):

        def fail(failure=failure, **kw):
            raise failure

        monkeypatch.setattr(huggingface_hub, "get_session", lambda failure=failure: Session(failure))
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(DataError, match=r"https://huggingface\.co/joncarter/hypnos and give its path") as error:
            load_model()
        assert "\n" not in str(error.value)
    # A fault of ours is not dressed up as a network problem.
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda **kw: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load_model()


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 5000, -4])
def test_cut_off_files(tiny_bundle, tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(tiny_bundle.read_bytes()[:keep])
    refuses(path, "cut off")


def test_a_longer_file_is_not_the_same_file(tiny_bundle, tmp_path):
    path = tmp_path / "long.safetensors"
    path.write_bytes(tiny_bundle.read_bytes() + b"x")
    refuses(path, "bytes long instead of")


NAME = "model/temporal_transformer.norm.weight"

HEADERS = {
    "no JSON": (lambda h: b"{" * 5000, "not valid JSON"),
    "deep": (lambda h: b"[" * 200_000 + b"]" * 200_000, "header"),
    "no object": (lambda h: b"[]      ", "not a JSON object"),
    "twice": (lambda h: b'{"a":1,"a":2}', "not valid JSON"),
    "metadata": (lambda h: h | {"__metadata__": {"config": 3}}, "metadata are not text"),
    "no config": (lambda h: h | {"__metadata__": {}}, "not a Hypnos bundle"),
    "bad config": (lambda h: h | {"__metadata__": {"config": "{"}}, "config is not valid JSON"),
    "list config": (lambda h: h | {"__metadata__": {"config": "[]"}}, "config is not a JSON object"),
    "field": (lambda h: h | {NAME: h[NAME] | {"extra": 1}}, f"tensor {NAME!r} is damaged (fields)"),
    "type": (lambda h: h | {NAME: h[NAME] | {"dtype": "F31"}}, "unknown type 'F31'"),
    "no type": (lambda h: h | {NAME: h[NAME] | {"dtype": None}}, "unknown type None"),
    "negative": (lambda h: h | {NAME: h[NAME] | {"shape": [-32]}}, "(shape or offsets)"),
    "true": (lambda h: h | {NAME: h[NAME] | {"shape": [True]}}, "(shape or offsets)"),
    "huge": (lambda h: h | {NAME: h[NAME] | {"shape": [2**60]}}, "shape and offsets disagree"),
    "backwards": (lambda h: h | {NAME: h[NAME] | {"data_offsets": h[NAME]["data_offsets"][::-1]}}, "disagree"),
    "overlap": (lambda h: h | {NAME: h[NAME] | {"data_offsets": [0, 128]}}, "overlaps another or leaves a gap"),
    "gap": (lambda h: {k: v for k, v in h.items() if k != NAME}, "overlaps another or leaves a gap"),
    "not an object": (lambda h: h | {NAME: 3}, "(fields)"),
}


@pytest.mark.parametrize(("change", "message"), HEADERS.values(), ids=HEADERS)
def test_damaged_headers(tiny_bundle, tmp_path, change, message):
    header, data = header_of(tiny_bundle)
    refuses(with_header(tmp_path / "bad.safetensors", change(header), data), message)


def test_missing_unexpected_and_misshapen_tensors(edited_bundle):
    refuses(edited_bundle(lambda t: t.pop(NAME)), f"tensor '{NAME}' of shape [32] is missing")
    refuses(
        edited_bundle(lambda t: t.update({NAME: ("F32", [2, 16], t[NAME][2])})),
        f"tensor '{NAME}' has shape [2, 16], its config implies [32]",
    )
    refuses(
        edited_bundle(lambda t: t.update({NAME: ("I32", [32], t[NAME][2])})),
        f"tensor '{NAME}' holds I32, not floating-point numbers",
    )
    for extra in ("model/temporal_transformer.novelty", "tok/eeg-q3/encoder.novelty", "tok/other/x", "ema"):
        change = {extra: ("F32", [1], b"abcd")}
        refuses(edited_bundle(lambda t, change=change: t.update(change)), f"unexpected tensor {extra!r}")


def test_a_config_of_another_size_is_noticed(edited_bundle):
    path = edited_bundle(change_config=lambda c: c["model_kwargs"].update(temporal_mlp_ratio=3.0))
    refuses(path, "has shape [42, 32], its config implies [64, 32]")


def test_unneeded_tensors_may_be_absent(edited_bundle, make_tokens, our_frames):
    def strip(tensors):
        useless = ("/decoder", "depth", "ema_", "rope", "usage_count", "initialized", "project_out", "attn_mask")
        for name in [n for n in tensors if any(word in n for word in useless)]:
            del tensors[name]
        assert len(tensors) > 50

    model, tokenizers, metadata = load_model(edited_bundle(strip))
    assert our_frames(model, *make_tokens(metadata, 20)).shape == (20, 4, 32)
    assert tokenizers["ecg"].tokenize(torch.zeros(1, 1, 320)).shape == (1, 20, 2)


def test_a_tied_copy_stands_in_for_a_missing_table(edited_bundle, tiny_bundle):
    def move(tensors):
        name = "model/token_embeddings.eeg_c3.1.weight"
        tensors["model/depth_transformer.per_group_embeddings.eeg_c3.1.trunk_emb.weight"] = tensors.pop(name)

    found, expected = load_model(edited_bundle(move))[0], load_model(tiny_bundle)[0]
    assert torch.equal(next(found.tables[0].parameters()), next(expected.tables[0].parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize(("dtype", "code"), [(torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float64, "F64")])
def test_other_types_on_disk_become_float32(edited_bundle, reference, make_tokens, our_frames, dtype, code):
    def convert(tensors):
        for name, (kind, shape, data) in list(tensors.items()):
            if kind == "F32":
                values = torch.frombuffer(bytearray(data), dtype=torch.float32).to(dtype)
                tensors[name] = (code, shape, values.view(torch.uint8).numpy().tobytes())

    path = edited_bundle(convert)
    model, _, metadata = load_model(path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    given = make_tokens(metadata, 40)
    theirs, _, _ = reference.load(path)
    # The published loader also takes its rotary tables in the file's type; ours are always computed.
    tolerance = {"F16": 2e-3, "BF16": 2e-2, "F64": 1e-5}[code]
    assert float((our_frames(model, *given) - reference.frames(theirs, *given, 40)).abs().max()) < tolerance


def test_damaged_weights_do_not_become_embeddings(edited_bundle, make_tokens):
    from hypnos_bench.hypnos.infer import embed

    def damage(tensors):
        kind, shape, data = tensors[NAME]
        tensors[NAME] = (kind, shape, np.full(32, np.nan, "<f4").tobytes()[: len(data)])

    model, _, metadata = load_model(edited_bundle(damage))
    with pytest.raises(DataError, match="embeddings near second 0 are not finite"):
        embed(model, *make_tokens(metadata, 20), metadata)


def test_files_are_closed(tiny_bundle, edited_bundle):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        load_model(tiny_bundle)
        with pytest.raises(DataError):
            Bundle(edited_bundle(lambda t: t.pop(NAME)))


def test_a_tokenizer_that_no_modality_uses_is_passed_over(edited_bundle):
    def unused(config):
        config["tokenizers"]["ecg-old"] = config["tokenizers"]["ecg-q2"]

    def add(tensors):
        tensors["tok/ecg-old/project_in.bias"] = tensors["tok/ecg-q2/project_in.bias"]

    assert load_model(edited_bundle(add, change_config=unused))[2].unique_tokenizers == ["eeg-q3", "ecg-q2", "resp-q1"]
    refuses(edited_bundle(add), "unexpected tensor 'tok/ecg-old/project_in.bias'")


def test_a_bundle_replaced_after_loading_is_not_mixed_in(tiny_bundle, edited_bundle):
    path = edited_bundle()
    _, tokenizers, _ = load_model(path)
    path.write_bytes(tiny_bundle.read_bytes()[:-1])
    with pytest.raises(DataError, match="changed since it was loaded"):
        _ = tokenizers["ecg"]
    path.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        _ = tokenizers["ecg"]
