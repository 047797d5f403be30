"""A lack of memory is told from other errors, whoever ran out of it."""

import pytest
import torch

from vislib.errors import out_of_memory
from vislib.jobs import sentence

RAN_OUT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:116] . DefaultCPUAllocator: can't allocate memory: 8 bytes."
    ),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: 8 bytes."),
    RuntimeError("could not create a primitive: STATUS_ALLOC_FAILED"),
]
OTHERS = [
    None,
    RuntimeError("shapes do not match"),
    ValueError("out of memory, said a file"),
    KeyError("memory"),
]


@pytest.mark.parametrize("error", RAN_OUT, ids=repr)
def test_a_lack_of_memory_is_seen_and_told(error: Exception) -> None:
    assert out_of_memory(error)
    assert "choose fewer units or a smaller image" in sentence(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_nothing_else_is_taken_for_it(error: Exception | None) -> None:
    assert not out_of_memory(error)
