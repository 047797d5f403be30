"""Multiplications: how many a computation does in its convolutions and matrix products, which is the same anywhere."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Multiplications(TorchDispatchMode):
    """Counts them inside the `with`, in this thread; of each, torch counts an addition as well.

    Torch's own FlopCounterMode puts hooks on the modules of every thread. Operations that torch has no formula for,
    such as a recurrent layer's fused kernels, count nothing.

    >>> with Multiplications() as counted:
    ...     _ = torch.rand(2, 3) @ torch.rand(3, 4)
    >>> counted.total
    24.0
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result) / 2
        return result
