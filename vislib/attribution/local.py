"""Local maps: a batch of maps that equal a clean one but for a window, and the pass of a tape over them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislib.attribution.tape import Ref, Step, Tape, play

# A window that covers more of a map than this is computed on the whole map.
PAYS = 0.6
_FILLS = {0.0: 0, -math.inf: 1}  # the rows of a table that stand for what is outside the map


@dataclass(frozen=True, eq=False)
class Local:
    """Maps, one a row, that equal the clean one but for a window; it starts elsewhere in each row."""

    data: Float[Tensor, "b *channels_window"]
    start: Int[Tensor, "b axes"]  # on the CPU

    @property
    def size(self) -> tuple[int, ...]:
        """Of the window."""
        return tuple(self.data.shape[-self.start.shape[1] :])


class Clean:
    """Every value of a tape for one unchanged image."""

    def __init__(self, tape: Tape, image: Float[Tensor, "1 c *spatial"]) -> None:
        self.axes, self.layout = image.ndim - 2, tape.layout
        self._values: dict[int, Tensor] = {0: image}
        self._tables: dict[int, Tensor] = {}
        for step in tape.steps:
            self._values |= zip(step.outs, play(step, self._values.__getitem__, 1), strict=True)

    def __getitem__(self, value: int) -> Tensor:
        return self._values[value]

    def spatial(self, value: int) -> tuple[int, ...]:
        """The sizes of a map."""
        return tuple(self._values[value].shape[-self.axes :])

    def is_map(self, value: int) -> bool:
        """Whether a value has channels and positions."""
        return self._values[value].ndim == self.axes + 2

    def table(self, value: int, more: Float[Tensor, "rows channels"]) -> Float[Tensor, "more channels"]:
        """Rows of channels: one of zeros, one of -inf, one for each position of the clean map, then `more`."""
        clean = self._values[value]
        positions = 2 + math.prod(clean.shape[2:])
        table = self._tables.get(value)
        if table is None or len(table) < positions + len(more):
            table = clean.new_zeros(positions + len(more), clean.shape[1])
            table[1] = -math.inf
            table[2:positions] = _channels_last(clean)
            self._tables[value] = table
            # The table holds the map: there is no need for two copies.
            self._values[value] = table[2:positions].view(1, *clean.shape[2:], -1).movedim(-1, 1)
        table[positions : positions + len(more)] = more
        return table


class Run:
    """One pass of a tape for a batch of changed images; `work` counts multiplications and additions."""

    def __init__(
        self,
        clean: Clean,
        patches: Float[Tensor, "b c *window"],
        starts: Int[Tensor, "b axes"],
        handler: Callable[[Step], "Handler | None"],
    ) -> None:
        self.clean, self.rows, self.work = clean, len(patches), 0
        self._handler = handler
        self._values: dict[int, Local | Tensor] = {0: Local(patches.clone(), starts)}

    def through(self, tape: Tape) -> Tensor:
        """The tape's output on whole maps."""
        if not self.pays(0, self._local(0).size):
            self.whole(0)
        freed = tape.last_use()
        for index, step in enumerate(tape.steps):
            made: tuple[Local | Tensor, ...] | None = None
            if all(isinstance(self._values[value], Local) for value in step.ins):
                handler = self._handler(step)
                made = handler(self, step) if handler else None
            made = play(step, self.whole, self.rows) if made is None else made
            self._values |= zip(step.outs, made, strict=True)
            self.work += sum(_work(step, item) for item in made)
            for value in freed.get(index, ()):
                self._values.pop(value, None)
        return self.whole(tape.output)

    def local(self, item: Any) -> Local | None:
        """The local map that an argument stands for, if it does."""
        return self._local(item.value) if isinstance(item, Ref) else None

    def whole(self, value: int) -> Tensor:
        """A value on the whole map, for every row."""
        held = self._values[value]
        if isinstance(held, Tensor):
            return held
        clean = self.clean[value]
        layout = self.clean.layout if clean.ndim == 4 else torch.contiguous_format
        full = clean.expand(self.rows, *clean.shape[1:]).clone(memory_format=layout)
        put(full, held.data, held.start)
        self._values[value] = full
        return full

    def pays(self, value: int, size: Sequence[int]) -> bool:
        """Whether a window of this size is small beside the whole map."""
        return math.prod(size) <= PAYS * math.prod(self.clean.spatial(value))

    def joined(self, values: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Where a window starts that holds those of all these maps of one size, and how large it is."""
        held = [self._local(value) for value in values]
        if all(one.size == held[0].size and torch.equal(one.start, held[0].start) for one in held):
            return held[0].start, held[0].size
        start = torch.stack([one.start for one in held]).amin(0)
        stop = torch.stack([one.start + torch.tensor(one.size) for one in held]).amax(0)
        size = (stop - start).amax(0)
        room = torch.tensor(self.clean.spatial(values[0])) - size
        return torch.minimum(start, room), tuple(size.tolist())

    def region(
        self, value: int, start: Int[Tensor, "b axes"], size: Sequence[int], fill: float = 0.0
    ) -> Tensor:
        """Windows of `size` cut out of the changed maps, with `fill` where they reach outside."""
        held = self._local(value)
        if tuple(size) == held.size and torch.equal(start, held.start):
            return held.data
        index, inside = self._positions(value, start, size)
        index = torch.where(inside, index, _FILLS[fill])
        changed, there = torch.tensor(True), torch.arange(self.rows).view(-1, *[1] * len(size))
        for axis, (length, own) in enumerate(zip(size, held.size, strict=True)):
            within = _along(axis, start - held.start, length)
            changed = changed & (within >= 0) & (within < own)
            there = there * own + within
        after = 2 + math.prod(self.clean.spatial(value))
        return self._taken(value, torch.where(changed, there + after, index), _channels_last(held.data))

    def clean_region(self, value: int) -> Tensor:
        """What the clean map has in the window of each row."""
        held = self._local(value)
        index, _ = self._positions(value, held.start, held.size)
        return self._taken(value, index, _channels_last(held.data[:0]))

    def _positions(self, value: int, start: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """For each element of windows: its row in the map's table, and whether it is inside of the map."""
        index, inside = torch.zeros((), dtype=torch.long), torch.tensor(True)
        for axis, (length, whole) in enumerate(zip(size, self.clean.spatial(value), strict=True)):
            at = _along(axis, start, length)
            inside = inside & (at >= 0) & (at < whole)
            index = index * whole + at
        return index + 2, inside

    def _taken(self, value: int, index: Tensor, more: Tensor) -> Tensor:
        table = self.clean.table(value, more)
        taken = table.index_select(0, index.flatten().to(table.device))
        return taken.view(*index.shape, -1).movedim(-1, 1)

    def _local(self, value: int) -> Local:
        held = self._values[value]
        assert isinstance(held, Local)
        return held


def put(maps: Float[Tensor, "b ..."], windows: Float[Tensor, "b ..."], starts: Int[Tensor, "b axes"]) -> None:
    """Write each row's window into its map, over the last axes."""
    sizes = windows.shape[-starts.shape[1] :]
    for row, start in enumerate(starts.tolist()):
        place: tuple[Any, ...] = tuple(slice(at, at + size) for at, size in zip(start, sizes, strict=True))
        maps[row][(..., *place)] = windows[row]


Handler = Callable[[Run, Step], tuple[Local | Tensor, ...] | None]


def _along(axis: int, start: Tensor, length: int) -> Tensor:
    """The places of windows on one axis, broadcast over the others: (b, 1, …, length, …, 1)."""
    axes = start.shape[1]
    return (start[:, axis, None] + torch.arange(length)).view(
        -1, *[1] * axis, length, *[1] * (axes - axis - 1)
    )


def _channels_last(maps: Tensor) -> Tensor:
    """One row of channels for each position."""
    return maps.movedim(1, -1).reshape(-1, maps.shape[1])


def _work(step: Step, made: Local | Tensor) -> int:
    """Multiplications and additions; moving an element counts as 8 of them."""
    out = made.data if isinstance(made, Local) else made
    weight = step.args[1] if len(step.args) > 1 else step.kwargs.get("weight")
    if not (step.name.startswith("conv") or step.name == "linear") or not isinstance(weight, Tensor):
        return 8 * out.numel()
    return out.numel() * (8 + weight.numel() // len(weight))
