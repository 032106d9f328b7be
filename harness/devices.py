"""The device of this process: which one, which number formats it is fast at, and how it runs out of memory."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager, nullcontext

import torch

from harness.errors import TrialFailure

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NARROW = 192  # measured on two CPU cores: benchmarks/LOG.md
NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "std::bad_alloc",
    "Cannot allocate memory",  # the system, by way of a library
    "could not create a primitive",  # oneDNN, which places generated code
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
)
_FAST_BF16_ON_CPU = ("avx512_bf16", "amx_bf16")


def pick() -> torch.device:
    """The first CUDA device that this process sees, else the CPU.

    cuDNN's attention, which torch prefers on some devices, stays out of use: with a mask its gradients may be NaN.
    Source: https://github.com/pytorch/pytorch/issues/196678.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda", 0)


def name(device: torch.device) -> str:
    """What the record calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or "cpu")


def fast_at_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are done in hardware; a flag, not a timing, so that it never varies."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(flag) for flag in _FAST_BF16_ON_CPU)


def resolve_dtype(asked: str, device: torch.device) -> str:
    """Turn `auto` into fp32 or bf16.

    Raises:
        TrialFailure: data, for fp16 on a CPU.
    """
    if asked == "fp16" and device.type != "cuda":
        raise TrialFailure("data", "dtype: fp16 needs a CUDA device, and this is a CPU; use bf16, fp32 or auto")
    if asked == "auto":
        return "bf16" if fast_at_bf16(device) else "fp32"
    return asked


def autocast(device: torch.device, dtype: str) -> AbstractContextManager[None]:
    """The context of a forward pass in `dtype`; the weights stay float32."""
    return nullcontext() if dtype == "fp32" else torch.autocast(device.type, DTYPES[dtype])


def seed_dropout(device: torch.device, seed: int) -> None:
    """Seed the generator that dropout draws from on a device, and no other.

    torch.manual_seed would seed every device that may ever be used: without CUDA it keeps a traceback of every
    call for later, which costs more than a small step does.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what was asked of it; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def answers(device: torch.device) -> bool:
    """Whether the device can still be used: after an illegal access CUDA never can again in the same process."""
    try:
        synchronise(device)
    except RuntimeError:
        return False
    return True


def threads_for(width: int, vectors: bool, available: int) -> int:
    """CPU threads that pay for a model: a second one only waits for the first where the products are small.

    Args:
        width: of the model's states.
        vectors: whether every epoch starts from one vector for each row, above the layers.
        available: threads of this process.
    """
    return 1 if vectors or width <= NARROW else available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
