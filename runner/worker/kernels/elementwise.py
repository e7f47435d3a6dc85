"""elementwise.cpp, called from torch: dropout whose mask is made again on the way back, and the tanh form of gelu. As
modules they take the place of a network's own, which hold no tensor either."""

import ctypes
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from runjob.runner.worker.kernels.build import library
from runjob.runner.worker.kernels.draw import Draw, draw


def _drop(given: torch.Tensor, drawn: Draw) -> torch.Tensor:
    given = given.contiguous()
    answer = torch.empty_like(given)
    kernel = library().dropout_bf16 if given.dtype is torch.bfloat16 else library().dropout_fp32
    kernel(
        _place(given),
        _place(answer),
        ctypes.c_int64(given.numel()),
        ctypes.c_uint64(drawn.key),
        ctypes.c_uint32(drawn.threshold),
        ctypes.c_float(drawn.kept),
        ctypes.c_int64(torch.get_num_threads()),
    )
    return answer


def _place(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


class Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, drawn: Draw) -> torch.Tensor:  # noqa: ANN401
        ctx.drawn = drawn
        return _drop(given, drawn)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401
        return _drop(gradient, ctx.drawn), None


class FusedDropout(nn.Dropout):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0.0:
            return input
        if input.dtype not in (torch.bfloat16, torch.float32):
            return super().forward(input)
        answer: torch.Tensor = Dropped.apply(input, draw(self.p))  # type: ignore[no-untyped-call]
        return answer


class Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        given = given.contiguous()
        ctx.save_for_backward(given)
        answer = torch.empty_like(given)
        library().gelu_forward(_place(given), _place(answer), *_size_and_threads(given))
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        (given,) = ctx.saved_tensors
        gradient, answer = gradient.contiguous(), torch.empty_like(given)
        library().gelu_backward(_place(given), _place(gradient), _place(answer), *_size_and_threads(given))
        return answer


def _size_and_threads(tensor: torch.Tensor) -> tuple[ctypes.c_int64, ctypes.c_int64]:
    return ctypes.c_int64(tensor.numel()), ctypes.c_int64(torch.get_num_threads())


class FusedGelu(nn.Module):
    """The tanh form (`gelu_new`, `gelu_pytorch_tanh`): torch's own is five times slower in bf16 than its erf form."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.dtype is not torch.bfloat16:
            return F.gelu(input, approximate="tanh")
        answer: torch.Tensor = Gelu.apply(input)  # type: ignore[no-untyped-call]
        return answer
