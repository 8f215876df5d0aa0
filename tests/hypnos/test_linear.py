"""Products with packed weights equal plain ones, for every way they are used."""

import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnos_bench.hypnos import linear
from hypnos_bench.hypnos.linear import Linear, settle


def make(n_out=24, n_in=16, *, bias=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n_out, n_in, generator=generator)
    return weight, torch.randn(n_out, generator=generator) if bias else None


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def packing(request, monkeypatch):
    """Both ways of multiplying, on machines that have both."""
    if request.param and not linear.can_pack(torch.float32):
        pytest.skip("this processor has no packed products")
    if not request.param:
        monkeypatch.setattr(linear, "can_pack", lambda dtype: False)
    return request.param


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 16), (2, 5, 16), (0, 16), (2, 0, 16)])
def test_equals_the_plain_product(packing, bias, shape):
    weight, offset = make(bias=bias)
    x, other = torch.randn(shape), torch.randn(*shape[:-1], 24)
    with torch.inference_mode():
        product = Linear(weight, offset)
        exact = F.linear(x.double(), weight.double(), None if offset is None else offset.double())
        close = {"atol": 2e-6, "rtol": 1e-5}
        torch.testing.assert_close(product(x).double(), exact, **close)
        torch.testing.assert_close(product(x, "gelu").double(), F.gelu(exact), **close)
        torch.testing.assert_close(product(x, "swish").double(), F.silu(exact), **close)
        torch.testing.assert_close(product.times(x, other).double(), exact * other, **close)
        torch.testing.assert_close(product.plus(x, other).double(), exact + other, **close)
        assert (product.weight is None) == packing


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 70), cut=st.integers(0, 70))
def test_a_row_does_not_depend_on_the_rows_beside_it(rows, cut):
    weight, offset = make(48, 64)
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(rows))
    with torch.inference_mode():
        product = Linear(weight, offset)
        parts = torch.cat((product(x[:cut]), product(x[cut:])))
        torch.testing.assert_close(parts, product(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n_in", [64, 2048, 7168])
def test_at_real_widths_a_row_alone_differs_by_rounding_only(n_in):
    generator = torch.Generator().manual_seed(n_in)
    x = torch.randn(16, n_in, generator=generator)
    product = Linear(torch.randn(32, n_in, generator=generator) / n_in**0.5)
    with torch.inference_mode():
        together = product(x)
        for n in (1, 2, 7):
            torch.testing.assert_close(product(x[:n]), together[:n], atol=1e-5, rtol=0)


def test_a_state_dict_has_all_weights():
    weight, offset = make()
    product = settle(Linear(weight, offset), torch.device("cpu"), torch.float32)
    assert torch.equal(product.state_dict()["weight"], weight)


def test_what_is_unpacked_in_inference_mode_can_be_used_outside():
    product = settle(Linear(*make()), torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        copied = copy.deepcopy(product)
    for one in (product, copied):
        assert one.to(torch.bfloat16).weight.dtype == torch.bfloat16


def test_views_are_read_as_they_are(packing):
    weight, _ = make(bias=False)
    wide = torch.randn(4, 6, 40)
    with torch.inference_mode():
        product = Linear(weight)
        torch.testing.assert_close(product(wide[..., 8:24]), wide[..., 8:24] @ weight.T, atol=2e-6, rtol=1e-5)


def test_moving_and_copying_bring_the_plain_weight_back():
    weight, offset = make()
    product, x = Linear(weight, offset), torch.randn(3, 16)
    with torch.inference_mode():
        before = product(x)
        assert torch.equal(copy.deepcopy(product)(x), before)
        assert torch.equal(product.weight, weight)  # a copy is made of plain weights
        product(x)
        product.to(torch.float64)
        assert product.weight.dtype == torch.float64
        torch.testing.assert_close(product(x.double()).float(), before, atol=2e-6, rtol=1e-5)


def test_short_weights_leave_a_float32_sum_in_float32():
    weight, offset = make()
    product = settle(Linear(weight, offset), torch.device("cpu"), torch.bfloat16)
    x, other = torch.randn(5, 16), torch.randn(5, 24)
    with torch.inference_mode():
        total = product.plus(x.bfloat16(), other)
        assert total.dtype == torch.float32
        torch.testing.assert_close(total, other + F.linear(x, weight, offset), atol=0.1, rtol=0.05)
        assert product.plus(x.bfloat16(), other.bfloat16()).dtype == torch.bfloat16


def test_without_bfloat16_instructions_products_are_done_in_float32(monkeypatch):
    monkeypatch.setattr(linear, "_has_bf16_products", lambda: False)
    for cached in (linear.can_pack, linear.must_widen):
        cached.cache_clear()
    weight, offset = make()
    x = torch.randn(5, 16).bfloat16()
    try:
        if not linear.must_widen(torch.bfloat16):
            pytest.skip("not an x86 processor")
        with torch.inference_mode():
            product = settle(Linear(weight, offset), torch.device("cpu"), torch.bfloat16)
            assert product.weight.dtype == torch.bfloat16  # not packed
            exact = F.linear(x.float(), weight.bfloat16().float(), offset.bfloat16().float())
            assert torch.equal(product(x), exact.bfloat16())
    finally:
        for cached in (linear.can_pack, linear.must_widen):
            cached.cache_clear()


def test_settling_packs_every_product_at_once():
    if not linear.can_pack(torch.float32):
        pytest.skip("this processor has no packed products")
    block = torch.nn.Sequential(Linear(*make()), torch.nn.Sequential(Linear(*make(8, 24))))
    settle(block, torch.device("cpu"), torch.float32)
    assert [part.weight for part in block.modules() if isinstance(part, Linear)] == [None, None]
