"""Products with frozen weights, which are kept in the layout that the CPU's kernels want.

A plain product rearranges its weight at every call. With oneDNN, which comes with PyTorch on x86, the weight is
rearranged once, the activation or the addition that follows is done while the result is still in cache, and
the result for a row depends on the rows beside it less often, and then by rounding only.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

Activation = Literal["none", "gelu", "swish"]
M = TypeVar("M", bound=nn.Module)


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this processor and build of PyTorch multiply rearranged weights of a type: x86 with oneDNN."""
    if not _is_x86() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and _has_bf16_products())


@cache
def must_widen(dtype: torch.dtype) -> bool:
    """Whether products of a type are better done in float32.

    Without instructions for bfloat16 an x86 processor multiplies it three to five times more slowly than float32;
    short weights then save memory and no time.
    """
    return dtype == torch.bfloat16 and _is_x86() and not _has_bf16_products()


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _has_bf16_products() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # AMD since Zen 4, Intel since Sapphire Rapids
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def frozen(tensor: Tensor) -> nn.Parameter:
    """Wrap a weight that is never trained."""
    return nn.Parameter(tensor.contiguous(), requires_grad=False)


class Linear(nn.Module):
    """``x @ weight.T + bias``, with what often follows it.

    On a CPU the weight is rearranged by :meth:`pack`, at the latest when it is first used, and the plain copy is
    dropped. Moving the module elsewhere brings it back.

    Parameters
    ----------
    weight : Tensor, shape (n_out, n_in)
    bias : Tensor, shape (n_out,), optional
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight: Any = frozen(weight)  # None while packed
        self.bias = None if bias is None else frozen(bias)
        self._packed: Tensor | None = None

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """Product of `x` (..., n_in), in the weight's type, and an activation: GELU (erf), swish, or none."""
        packed = self._ready()
        if packed is not None:
            y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, packed, self.bias, activation, [], "none")
            return y
        y = self._plain(x)
        return F.gelu(y) if activation == "gelu" else F.silu(y) if activation == "swish" else y

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Product of `x`, multiplied by `other` (..., n_out)."""
        packed = self._ready()
        if packed is not None:
            y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, packed, self.bias, "mul")
            return y
        return self._plain(x).mul_(other)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """`other` (..., n_out) plus the product of `x`; a float32 `other` stays float32 beside shorter weights."""
        packed = self._ready() if other.dtype == x.dtype else None
        if packed is not None:
            y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, packed, self.bias, "add")
            return y
        product: Tensor = self(x)
        return other + product

    def _plain(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if x.device.type == "cpu" and must_widen(weight.dtype):
            y = F.linear(x.float(), weight.float(), None if bias is None else bias.float())
            return y.to(x.dtype)
        return F.linear(x, weight, bias)

    def pack(self) -> None:
        """Rearrange the weight where that is possible."""
        weight = self.weight
        if weight is not None and weight.device.type == "cpu" and can_pack(weight.dtype):
            with torch.inference_mode(False):  # what is made here outlives the mode it happens to be called in
                self._packed, self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach()), None

    def _ready(self) -> Tensor | None:
        """The rearranged weight, or ``None`` where plain ones are used."""
        if self._packed is None:
            self.pack()
        return self._packed

    def _unpack(self) -> None:
        if self._packed is not None:
            with torch.inference_mode(False):
                self.weight, self._packed = frozen(self._packed.to_dense()), None

    def _apply(self, fn: Any, recurse: bool = True) -> Linear:
        self._unpack()  # another device or type may be wanted
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._unpack()  # packed weights would be left out
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def __getstate__(self) -> dict[str, Any]:
        self._unpack()  # packed weights can be neither copied nor pickled
        return self.__dict__.copy()


def settle(module: M, device: torch.device, dtype: torch.dtype) -> M:
    """Bring a module to its place and type, and its weights into the layout used there."""
    module.to(device, dtype)
    for part in module.modules():
        if isinstance(part, Linear):
            part.pack()
    return module
