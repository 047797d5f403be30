"""The climb itself: frames of an ascent, one a step, and the checkpoints from which it goes on."""

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vislib import memory, pace
from vislib.ascent import transforms
from vislib.ascent.evaluation import LARGE, Evaluator, even_edges
from vislib.ascent.objectives import Objective
from vislib.ascent.optimisers import Optimiser
from vislib.ascent.parametrisations import Fourier, Parametrisation, Pixels, mean_image
from vislib.ascent.plan import Plan, Presets, Size, make_plan, read_spec
from vislib.ascent.plateau import Plateau
from vislib.ascent.quality import saturated, sharpness
from vislib.ascent.regularisers import regularise
from vislib.ascent.workers import in_shares
from vislib.errors import AscentError
from vislib.frames import Frame
from vislib.network import Network
from vislib.pace import Cost
from vislib.turns import Turn

_FORMAT = 1  # of a checkpoint
_SEVERAL = 4  # rows, from which on one takes as long as among any number


def ascend(
    network: Network,
    layer: str,
    units: Sequence[int],
    preset: Presets = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    size: Size = None,
    precision: str = "exact",
    objective: Objective | None = None,
    resume: bytes | None = None,
) -> Iterator[Frame]:
    """Find images that drive `units` of a layer by gradient ascent, all in one batch; yields frames 0 … steps.

    `preset` is a name of PRESETS, a Preset, one Preset a unit (which must share parametrisation, optimiser,
    objective and transforms), or None for `default_preset(network, layer)`. `size` (pixels, one number or one an axis)
    defaults to the network's own. `precision="fast"` runs the network in bfloat16 where `fast_available`, and
    exactly elsewhere: the sum over a page of units stays within 3 % (measured on brain2d), but a single deep unit may
    end in another local maximum, as it may with another seed. `objective` replaces the preset's (its penalties
    stay). `resume` is a `Frame.snapshot()`: the first frame is then the one that the snapshot was taken at; all
    frames equal the unbroken climb's, bit by bit.

    Frame k holds the images x_k with their objective (with transforms: of the view of x_k that the network got at
    step k, penalties included) and these numbers, one a unit: gradient_norm ||dS/dx||, norm ||x - mean||, distance
    ||x - x_0|| and std, all in units of [0, 1] images; saturated and sharpness (see vislib.ascent.quality); argmax, the
    layer's unit of the largest mean activation (at the position for a neuron); became_argmax, the first step at which
    that was the unit itself, -1 until then; alive, 1 from the first step at which the unit fired (was above 0
    anywhere). The climb ends before `steps` where its preset has patience. A neuron climbs on the part of the image
    that it sees, where the size is the network's own.

    Arguments are checked at once: raises AscentError or NetworkError in one sentence. While climbing, raises
    AscentError when a score or gradient is not finite, NetworkError when the network cannot run images of this size.
    """
    plan = make_plan(
        network,
        layer,
        units,
        preset,
        steps=steps,
        seed=seed,
        size=size,
        precision=precision,
        objective=objective,
    )
    return _Climb(plan, resume).frames()


def ascend_spec(network: Network, spec: Mapping[str, Any], resume: bytes | None = None) -> Iterator[Frame]:
    """`ascend` for what `ascent_spec` described; raises AscentError for a spec of another network or method."""
    return _Climb(read_spec(network, spec), resume).frames()


def ascent_turns(
    network: Network, spec: Mapping[str, Any], resume: bytes | None = None
) -> Iterator[Frame | Turn]:
    """`ascend_spec` with a Turn between the pieces of a step that takes long, where others may have their turn."""
    return _Climb(read_spec(network, spec), resume).turns()


def ascent_cost(network: Network, spec: Mapping[str, Any]) -> Cost | None:
    """What a row of the ascent that a spec names was measured to take; None where it was not measured yet."""
    return pace.known(network, _kind(read_spec(network, spec, cut=False)))


def measure_ascent(network: Network, spec: Mapping[str, Any]) -> Cost:
    """The same, measured where it was not yet: by one or a few looks at the first images."""
    return _Climb(read_spec(network, spec), None).cost()


class _Climb:
    def __init__(self, plan: Plan, resume: bytes | None) -> None:
        network = plan.network
        self._plan = plan
        self._mean = mean_image(network.mean, network.input_shape[0], len(plan.canvas), network.device)
        self._pixels = plan.presets[0].parametrisation == "pixels"
        self._transforms = transforms.transforms_on(plan.presets[0])
        if self._transforms and len(plan.canvas) == 1:
            raise AscentError("Transforms need images of two or three axes; choose a preset without them.")
        self._parametrisation: Parametrisation = (
            Pixels(plan.presets, plan.canvas, self._mean, plan.crop)
            if self._pixels
            else Fourier(plan.presets[0], plan.size, self._mean)
        )
        self._evaluator = Evaluator(
            network,
            plan.layer,
            plan.units,
            plan.objective,
            neuron=plan.neuron,
            position=plan.position,
            precision=plan.precision,
        )
        self._parameters = self._parametrisation.start(plan.units, plan.seed)
        self._first_images = self._parametrisation.images(self._parameters)
        self._optimiser = Optimiser(plan.presets, self._parameters, plan.steps)
        self._plateau = Plateau(len(plan.units), plan.presets[0].patience)
        self._step = 0
        self._became = np.full(len(plan.units), -1, np.int64)
        self._alive = np.zeros(len(plan.units), np.float32)
        self._piece = 0  # rows of a piece of a step; 0 until it is chosen
        self._lone = False  # whether each row goes through the network by itself
        self._framed = -1  # the newest step whose frame was made
        if resume is not None:
            self._restore(resume)

    def frames(self) -> Iterator[Frame]:
        """Frames from the present step to the last; every one is yielded before its update."""
        for one in self.turns():
            if isinstance(one, Frame):
                yield one

    def turns(self) -> Iterator[Frame | Turn]:
        """As `frames`, with a Turn after each piece of a step but the last; nothing is locked meanwhile."""
        rows = len(self._plan.units)
        if pace.known(self._plan.network, _kind(self._plan)) is None:
            self.cost()
            yield Turn(self._step, 0, rows)
        edges = self._edges(rows)
        while True:
            images, gradient = torch.empty_like(self._first_images), torch.empty_like(self._parameters)
            parts: list[dict[str, np.ndarray]] = []
            for start, stop in itertools.pairwise(edges):
                parts += self._look(slice(start, stop), images, gradient)
                if stop < rows:
                    yield Turn(self._step, stop, rows)
            numbers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            frame = self._frame(images, numbers)
            yield frame
            # Noted after the yield: a checkpoint holds what was known before, and the frame is looked at again.
            if self._plateau.over(frame.scores, self._step) or self._step >= self._plan.steps:
                return
            moved = self._optimiser.step(images if self._pixels else self._parameters, gradient, self._step)
            if self._pixels:
                moved = regularise(moved, gradient, self._plan.presets, self._mean, self._step)
            self._parameters = moved
            self._step += 1

    def _edges(self, rows: int) -> list[int]:
        """Where the pieces of a step begin and end; a run goes on in the pieces in which it began."""
        device = self._first_images.device
        cost, free = self.cost(), memory.free(device)
        # A processor rounds a row by itself otherwise than beside others, and small differences grow with the steps:
        # rows of large networks always go by themselves, those of others never, so that no split shows.
        beside = 2 * pace.threads(device) if device.type == "cpu" else 1
        if not self._piece:
            self._lone = device.type == "cpu" and (cost.alone > pace.TURN or self._is_large())
            self._piece = cost.at_once(rows, free, least=1 if self._lone else beside)
        least = beside if not self._lone and self._piece >= beside else 1
        return even_edges(rows, min(rows, self._piece), least)

    def _is_large(self) -> bool:
        """Whether a row is as quick by itself, by what it does and not by what it took: the same on every machine."""
        return self._evaluator.multiplications(self._first_images[:1]) > LARGE

    def cost(self) -> Cost:
        """What a row takes, measured the first time that it is asked for."""
        network, kind = self._plan.network, _kind(self._plan)
        known = pace.known(network, kind)
        if known is not None:
            return known
        images, gradient = torch.empty_like(self._first_images), torch.empty_like(self._parameters)
        found = pace.measure(
            lambda rows: self._look(slice(0, rows), images, gradient), len(images), images.device
        )
        return pace.remember(network, kind, found)

    def _look(self, piece: slice, images: Tensor, gradient: Tensor) -> list[dict[str, np.ndarray]]:
        """Numbers of shares of a piece's rows; their images and gradient by the parameters are written."""

        def look(worker: int, share: slice) -> list[dict[str, np.ndarray]]:
            size = 1 if self._lone else share.stop - share.start
            starts = range(piece.start + share.start, piece.start + share.stop, size)
            parts = [slice(start, start + size) for start in starts]
            return [self._look_at(worker, rows, images[rows], gradient[rows]) for rows in parts]

        return [one for share in in_shares(piece.stop - piece.start, look, images.device) for one in share]

    def _look_at(
        self, worker: int, rows: slice, images_out: Tensor, gradient_out: Tensor
    ) -> dict[str, np.ndarray]:
        """What the network says of some rows; writes their images and gradient, and gives their numbers."""
        plan, step = self._plan, self._step
        redirect = step < plan.presets[0].redirect
        leaf = self._parameters[rows]
        if self._pixels:
            leaf = self._parametrisation.images(leaf)
        with torch.enable_grad():
            leaf = leaf.detach().requires_grad_()
            images = leaf if self._pixels else self._parametrisation.images(leaf)
            seen = images
            if self._transforms:
                drawn = transforms.draw(plan.presets[0], plan.seed, step, len(plan.canvas))
                seen = transforms.view(images, drawn, self._mean)
        look = self._evaluator.look(seen.detach(), rows, redirect=redirect, worker=worker)
        if seen is leaf:
            gradient = slope = look.gradient
        else:
            gradient, slope = torch.autograd.grad(seen, (leaf, images), look.gradient)
        images = images.detach()
        images_out.copy_(images)
        gradient_out.copy_(gradient)
        norm, deviation = self._spread(images)
        return {
            "score": look.scores.cpu().numpy().astype(np.float32),
            "gradient_norm": slope.flatten(1).norm(dim=1).cpu().numpy(),
            "norm": norm,
            "distance": (images - self._first_images[rows]).flatten(1).norm(dim=1).cpu().numpy(),
            "std": deviation,
            "saturated": saturated(images).cpu().numpy(),
            "sharpness": sharpness(images).cpu().numpy(),
            "argmax": look.argmax.cpu().numpy(),
            "fired": look.fired.cpu().numpy(),
        }

    def _frame(self, images: Tensor, numbers: dict[str, np.ndarray]) -> Frame:
        step, scores, fired = self._step, numbers.pop("score"), numbers.pop("fired")
        self._framed = step
        self._check_finite(scores, numbers["gradient_norm"])
        self._became[(self._became < 0) & (numbers["argmax"] == np.array(self._plan.units))] = step
        self._alive[fired > 0] = 1.0
        numbers |= {"became_argmax": self._became.copy(), "alive": self._alive.copy()}
        pictures = images.cpu().numpy()
        # Pixels are what the climb goes on from, so the frame gets a copy; a spectrum's images nobody needs again.
        return Frame(
            step, pictures.copy() if self._pixels else pictures, scores, numbers, self._snapshot_of(step)
        )

    def _spread(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the data's mean and standard deviation over all pixels, from sums (torch's std is slow)."""
        offsets = (images - self._mean).flatten(2)
        total = offsets.sum(2).double().cpu().numpy()
        square = np.square(offsets.norm(dim=2).double().cpu().numpy())
        count, mean = offsets.shape[2], self._mean.flatten(1).double().cpu().numpy()
        centre = (total + count * mean).mean(1, keepdims=True) / count
        shift = mean - centre
        variance = (square + 2 * shift * total + count * shift**2).mean(1) / count
        return np.sqrt(square.sum(1)).astype(np.float32), np.sqrt(variance.clip(min=0)).astype(np.float32)

    def _check_finite(self, scores: np.ndarray, steepness: np.ndarray) -> None:
        wrong = ~(np.isfinite(scores) & np.isfinite(steepness))
        if wrong.any():
            row = int(np.argmax(wrong))
            what = "score" if not np.isfinite(scores[row]) else "gradient"
            raise AscentError(
                f"Unit {self._plan.units[row]} of {self._plan.network.name}'s layer {self._plan.layer!r} got a {what} "
                f"that is not a finite number at step {self._step}; lower the learning rate, use precision 'exact' or "
                "check the network's weights."
            )

    def _snapshot_of(self, step: int) -> Callable[[], bytes]:
        def snapshot() -> bytes:
            if self._framed != step:
                raise AscentError(
                    f"The climb has gone on from step {step} to {self._step}; take a frame's snapshot before asking "
                    "for the next frame."
                )
            # What `_frame` noted of this step is noted again, with the same result, when it is recomputed. Between
            # the pieces of the next step, which was updated already, the work goes on from there.
            state: dict[str, Any] = {
                "format": _FORMAT,
                "step": self._step,
                "piece": self._piece,
                "lone": self._lone,
            }
            state |= {"parameters": self._parameters, **self._optimiser.state}
            state |= self._plateau.state
            state |= {"became": torch.from_numpy(self._became), "alive": torch.from_numpy(self._alive)}
            buffer = io.BytesIO()
            torch.save({k: v.cpu() if isinstance(v, Tensor) else v for k, v in state.items()}, buffer)
            return buffer.getvalue()

        return snapshot

    def _restore(self, checkpoint: bytes) -> None:
        try:
            state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
            fits = state["format"] == _FORMAT and state["parameters"].shape == self._parameters.shape
            tensors = {name: state[name].to(self._parameters) for name in self._optimiser.state}
            became, alive, step = state["became"].numpy(), state["alive"].numpy(), int(state["step"])
            piece, lone = int(state.get("piece", 0)), bool(state.get("lone", self._lone))
        except Exception as error:
            raise AscentError("This checkpoint cannot be read; start the run anew.") from error
        if not fits or step > self._plan.steps:
            raise AscentError(
                "This checkpoint is of another run (its units, image size, steps or preset differ); "
                "resume the run that it was taken from, or start anew."
            )
        self._parameters = state["parameters"].to(self._parameters)
        self._optimiser.state.update(tensors)
        self._plateau.restore(state)
        self._became[:], self._alive[:], self._step, self._piece = became, alive, step, max(0, piece)
        self._lone = lone


def _kind(plan: Plan) -> tuple[Any, ...]:
    """What decides how long a row takes: layer, size, precision, what is done to the images, how many."""
    preset = plan.presets[0]
    done = transforms.transforms_on(preset), preset.parametrisation, bool(preset.l2 or preset.tv)
    several = min(len(plan.units), _SEVERAL)
    return (
        "climb",
        plan.layer,
        plan.canvas,
        plan.neuron,
        plan.precision,
        done,
        several,
        torch.get_num_threads(),
    )
