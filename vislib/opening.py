"""Opening: what a module turns out to be in its first forward passes: layers, head, memory layout, cautions."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vislib import remarks
from vislib.errors import NetworkError, VislibError, out_of_memory
from vislib.freezing import copy_of
from vislib.head import Head
from vislib.meaning import Evidence, ambiguous, flat, reads_back, several_images, understand
from vislib.memory_layout import PLAIN, MemoryWatch, fast_layout, lay_out, same_way_back
from vislib.output import Endings, Key, Output, Seen, choose, item
from vislib.probe import LOGITS, Call, Layer, find_layers, record, token
from vislib.running import PROBE_BATCH, run
from vislib.steadiness import Belongings, RandomNumbers, Steadiness, steadiness, uses_python_random
from vislib.tokens import Tokens, find_tokens

_ONE = (
    "{name} takes one image at a time: it runs one but no {batch}, as with a view(1, ...) or a state that is made for "
    "a batch of one; have its forward take the number from its images (len(images))."
)


@dataclass(frozen=True)
class Opened:
    """What was found of a module."""

    layers: dict[str, Layer]
    aliases: dict[str, str]
    head: Head
    output: Output
    layout: torch.memory_format
    tokens: Tokens | None
    cautions: tuple[str, ...]  # that belong to every answer
    paired: bool  # an image alone must be run beside a copy of itself
    mixes: bool  # what else is in a batch changes the answer to an image
    notes: tuple[str, ...]  # that a reader must know of the network


class Opening:
    """One module that is being opened; `prepare` makes standardised images of [0, 1] ones, in a memory layout."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        input_shape: tuple[int, ...],
        prepare: Callable[[Tensor, torch.memory_format], Tensor],
        labelled: bool,
        device: torch.device,
    ) -> None:
        self._device = device
        self._name, self._module, self._input_shape = name, module, input_shape
        self._prepare, self._labelled = prepare, labelled
        self._layout = fast_layout(len(input_shape) - 1)
        self._steady = Steadiness((), False, False)
        self._fresh = copy_of(module, sharing=True)  # as it is before it has seen anything
        self._output = Output()
        self._wrong_back = False  # whether gradients are wrong in the fast layout

    def opened(self, head: str | Head | None, key: Key | Output | None, unit: str) -> Opened:
        """Run it and look; `head` and `key` are what somebody says, or what another network has."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(PROBE_BATCH, *self._input_shape, generator=generator)
        images[1:] = 0.05 + 0.2 * images[1:]  # darker and flatter: whoever takes both together shows itself
        seen: list[Seen] = []

        def scores(output: Any) -> Tensor | None:
            known = key.key if isinstance(key, Output) else key
            self._output = Output(choose(self._name, output, known, PROBE_BATCH))
            if (tensor := item(output, self._output.key)) is not None:
                if tensor.layout != torch.strided:
                    raise NetworkError(
                        f"{self._name} puts out a sparse tensor; have its forward return a dense one (.to_dense())."
                    )
                self._output = replace(self._output, **self._form(tensor.shape))
                ended = endings.seen(tensor)
                seen[:] = [ended._replace(values=self._output.formed(tensor))]
            return self._output.read(output)

        with Endings() as endings:
            try:
                calls = self._recorded(images, scores)
            except NetworkError as error:
                cause = error.__cause__
                if cause is None or out_of_memory(cause) or not self._runs_alone(images[1:]):
                    raise
                raise NetworkError(_ONE.format(name=self._name, batch=PROBE_BATCH)) from error
        root = self._root(calls)
        if not (dtype := seen[0].values.dtype).is_floating_point:
            raise NetworkError(
                f"{self._name} puts out values of type {str(dtype).removeprefix('torch.')}, which have no gradient and "
                "are no class scores; have its forward return the real numbers that they come from."
            )
        if isinstance(head, Head) and isinstance(key, Output):
            found, self._output = head, key
        else:
            kind = head.kind if isinstance(head, Head) else head
            found, self._output = self._understood(seen[0], kind, unit)
        if self._output.stepped and (before := seen[0].before) is not None:
            # The layer whose output goes into the last softmax is the class scores itself.
            calls[calls.index(root)] = replace(root, given=token(before))
        return self._told(calls, found)

    def _form(self, shape: torch.Size) -> dict[str, bool]:
        """How scores with other axes than the images are read; raises NetworkError where that is open."""
        image = self._input_shape[1:]
        if len(shape) <= 2 or len(shape) == len(image) + 2 or shape[0] != PROBE_BATCH:
            return {}
        if tuple(shape[1:]) == image:
            return {"one_unit": True}
        if math.prod(shape[2:]) == 1:
            return {"flat": True}
        each = ", ".join(map(str, shape[1:]))
        raise NetworkError(
            f"{self._name} gave scores of shape ({each}) for an image of {' x '.join(map(str, image))}, which may be "
            f"units over other positions than the image's, or positions of one unit; have its forward return (images, "
            f"classes), the mean over positions, or (images, classes, {', '.join('hwd'[: len(image)])})."
        )

    def _runs_alone(self, image: Tensor) -> bool:
        try:
            with torch.no_grad():
                self._run(image)
        except VislibError:
            return False
        return True

    def _root(self, calls: list[Call]) -> Call:
        root = next((call for call in calls if not call.name), None)
        if root is None or len(root.shape) < 2 or root.shape[0] != PROBE_BATCH or 0 in root.shape:
            given = "no tensor" if root is None else f"a tensor of shape {root.shape}"
            alone = root is not None and root.shape[:1] == (1,)
            hint = ", and not for a batch of one alone, as a view(1, ...) makes them" if alone else ""
            raise NetworkError(
                f"{self._name} gave {given} for {PROBE_BATCH} images of shape {self._input_shape}; "
                f"its forward must return class scores of shape (images, classes){hint}."
            )
        return root

    def _told(self, calls: list[Call], head: Head) -> Opened:
        axes = len(self._input_shape) - 1
        layers, aliases = find_layers(calls, PROBE_BATCH, axes)
        known, scores = list(layers.values()), layers[LOGITS]
        tokens = find_tokens(calls, known)
        notes = (
            *self._steady.cautions,
            *remarks.of_layers(self._name, known, calls, PROBE_BATCH),
            *remarks.of_tokens(self._name, tokens),
            *remarks.of_units(self._name, known),
            *remarks.of_one_unit(self._name, scores.spatial, self._output.one_unit),
            *remarks.of_output(self._name, (scores.channels, *scores.spatial), self._input_shape[1:]),
            *remarks.of_layout(self._name, self._layout, axes, self._wrong_back),
        )
        self._add_duplicates(layers, aliases)
        return Opened(layers, aliases, head, self._output, self._layout, tokens, *self._steady, notes)

    def _add_duplicates(self, layers: dict[str, Layer], aliases: dict[str, str]) -> None:
        """Other names of one and the same module lead to its layer."""
        listed = {layer.path or layer.name: layer.name for layer in layers.values() if layer.kind != LOGITS}
        duplicates: dict[nn.Module, str] = {}
        for path, part in self._module.named_modules(remove_duplicate=False):
            first = duplicates.setdefault(part, path)
            target = aliases.get(first, listed.get(first))
            if path not in layers and target is not None:
                aliases[path] = target

    def _run(self, images: Tensor) -> Any:
        return run(self._module, self._prepare(images, self._layout), self._name, self._input_shape)

    def _item(self, output: Any) -> Any:
        """What counts of an answer: beside it there may be a loss of the whole batch."""
        return output if (tensor := item(output, self._output.key)) is None else tensor

    def _chosen(self, images: Tensor) -> Any:
        return self._item(self._run(images))

    def _run_fresh(self, images: Tensor) -> Any:
        """The answer of the module that has seen nothing before."""
        return self._item(
            run(self._fresh, self._prepare(images, self._layout), self._name, self._input_shape)
        )

    def _recorded(self, images: Tensor, scores: Callable[[Any], Tensor | None]) -> list[Call]:
        """The module's calls, in the layout that it can be run in: `view` after a convolution needs the plain one."""
        lay_out(self._module, self._layout)
        numbers, belongings, output = RandomNumbers(self._device), Belongings(self._module), [None]

        def first() -> None:
            output[0] = self._run(images)

        try:
            with MemoryWatch() as watch:
                calls = record(self._module, first, scores)
            if self._layout == PLAIN or not watch.read:
                drawn, kept = numbers.drawn, belongings.changed
                self._steady = steadiness(
                    self._name,
                    self._chosen,
                    images,
                    self._item(output[0]),
                    drawn=drawn,
                    kept=kept,
                    fresh=self._run_fresh,
                    hidden=uses_python_random(self._module),
                )
                if self._layout == PLAIN or not self._goes_wrong(watch, images[1:]):
                    return calls
                self._wrong_back = True
        except NetworkError as error:
            if self._layout == PLAIN or out_of_memory(error.__cause__):
                raise
        self._layout = PLAIN
        return self._recorded(images, scores)

    def _goes_wrong(self, watch: MemoryWatch, image: Tensor) -> bool:
        """Whether gradients of one image are wrong in this layout, by any rule of the ReLUs."""
        # Of answers that are not steady nothing can be compared; where one image is never run alone, nothing need be.
        steady = self._steady
        return watch.norms or not (steady.cautions or steady.paired or same_way_back(self._chosen, image))

    def _understood(self, first: Seen, kind: str | None, unit: str) -> tuple[Head, Output]:
        """What the output means, by what came out for noise and, where that leaves open, for other images."""
        if not reads_back(first):
            first = Seen(first.values, None, "", first.came_of or first.ending)
        form = self._output
        rows = flat(first.values)
        seen = Evidence(rows, first.ending, first.came_of)
        if kind is None and not unit and ambiguous(seen):
            some = several_images(self._input_shape)
            with torch.no_grad():
                more = [self._run(torch.cat([one, one]) if self._steady.paired else one) for one in some]
            others = [
                flat(form.formed(one)) for output in more if (one := item(output, form.key)) is not None
            ]
            seen = Evidence(torch.cat([rows, *others]), first.ending, first.came_of)
        head, output = understand(self._name, seen, kind, unit, self._labelled, form.key)
        return head, replace(output, one_unit=form.one_unit, flat=form.flat)
