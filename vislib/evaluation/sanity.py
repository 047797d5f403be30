"""Sanity check: a map that explains a network changes when the network's weights are made random, layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislib.attribution.ask import attribute
from vislib.attribution.method import Method
from vislib.attribution.target import Target
from vislib.errors import AttributionError
from vislib.evaluation.similarity import rank_correlation, sizes, ssim
from vislib.network import Network
from vislib.parameters import Value
from vislib.whole import MOST_SEED, checked_seed


@dataclass(frozen=True, eq=False)
class Stage:
    """Maps after the layers from the top down to `layer` were made random, and how alike they are to the first.

    rank   Spearman's correlation of the absolute values, 1 where nothing changed
    ssim   structural similarity of the absolute values, each map divided by its largest
    """

    layer: str
    number: int  # of `stages`, from 1
    stages: int
    maps: Float[np.ndarray, "n *spatial"]
    rank: Float[np.ndarray, " n"]
    ssim: Float[np.ndarray, " n"]


def compare(
    layer: str,
    number: int,
    stages: int,
    maps: Float[np.ndarray, "n *spatial"],
    original: Float[np.ndarray, "n *spatial"],
) -> Stage:
    """A stage from its maps and the trained network's; a map that became constant has nothing in common any more."""
    a, b = sizes(original), sizes(maps)
    flat, still = _constant(a), _constant(b)
    rank, structure = rank_correlation(a, b), ssim(a, b)
    for values in (rank, structure):
        values[flat | still] = 0.0
        values[flat & still] = 1.0
    return Stage(layer, number, stages, maps, rank, structure)


def _constant(maps: np.ndarray) -> np.ndarray:
    return np.ptp(maps.reshape(len(maps), -1), axis=1) == 0


def overall_similarity(stages: Sequence[Stage]) -> Float[np.ndarray, " n"]:
    """One number an image: the mean SSIM while the upper half of the layers becomes random, the lower being trained.

    That half tells methods apart: what shows the image more than the network still has its trained edges there, and
    at the end of the cascade every map has changed. Rank correlation tells them apart less: two smooth maps, or two
    with the same black background, are alike in rank whatever they show.
    """
    upper = [stage.ssim for stage in stages if stage.number <= (stage.stages + 1) // 2]
    return np.mean(upper, axis=0)


def weighted_layers(network: Network) -> tuple[tuple[str, ...], ...]:
    """Modules with parameters of their own, last called first; norms go with the layer that they follow."""
    called: dict[str, nn.Module] = {}

    def note(name: str, module: nn.Module) -> None:
        called.pop(name, None)  # a module called twice counts with its last call
        called[name] = module

    module = network.copied()
    handles = [
        part.register_forward_hook(lambda called, _in, _out, name=name: note(name, called))
        for name, part in module.named_modules()
        if any(True for _ in part.parameters(recurse=False))
    ]
    images = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        module(images.to(network.device, network.dtype))
    for handle in handles:
        handle.remove()
    groups: list[list[str]] = []
    for name, part in called.items():
        if groups and all(p.ndim < 2 for p in part.parameters(recurse=False)):
            groups[-1].append(name)
        else:
            groups.append([name])
    if not groups:
        raise AttributionError(f"{network.name} has no weights, so they cannot be made random.")
    return tuple(tuple(group) for group in reversed(groups))


def cascade(network: Network, *, seed: int = 0, stages: int | None = None) -> Iterator[tuple[str, Network]]:
    """Copies of the network with ever more layers made random, from the class scores down to the first layer.

    Yields the name of the lowest random layer, and the copy: each one keeps the random weights of those before.
    Layers start anew as their own `reset_parameters` has it, else normal with the standard deviation that they
    had; running statistics of batch norms stay. `stages` bounds how many copies there are (several layers at
    once then). Adebayo et al. 2018, arXiv 1810.03292.
    """
    groups = weighted_layers(network)
    seed = checked_seed(seed, AttributionError)
    count = len(groups) if stages is None else max(1, min(stages, len(groups)))
    ends = {round((number + 1) * len(groups) / count) for number in range(count)}
    module = network.copied().cpu()
    parts = dict(module.named_modules())
    done: set[nn.Parameter] = set()
    for number, group in enumerate(groups, start=1):
        for name in group:
            _randomise(parts[name], done, (seed * 100_003 + number) % MOST_SEED)
        if number in ends:
            yield group[0] or network.name, _renewed(network, module)


def random_network(network: Network, *, seed: int = 0) -> Network:
    """A copy of the network whose every weight is random, as untrained: the end of the cascade."""
    *_, (_, last) = cascade(network, seed=seed, stages=1)
    return last


def sanity_steps(
    network: Network,
    images: Float[Tensor, "n c *spatial"],
    target: Target | int,
    method: str | Method,
    original: Float[np.ndarray, "n *spatial"],
    *,
    layer: str | None = None,
    parameters: Mapping[str, Value] | None = None,
    seed: int = 0,
    stages: int | None = None,
) -> Iterator[Stage]:
    """Yield a method's maps from the trained network's (`original`) to the all-random one's, with their similarity."""
    copies = list(cascade(network, seed=seed, stages=stages))
    for number, (name, changed) in enumerate(copies, start=1):
        maps = attribute(changed, images, target, method, layer=layer, seed=seed, **(parameters or {})).values
        yield compare(name, number, len(copies), maps, original)


def _randomise(part: nn.Module, done: set[nn.Parameter], seed: int) -> None:
    """New values for the module's own parameters, but those in `done`, which gains them."""
    own = {name: p for name, p in part.named_parameters(recurse=False) if p not in done}
    kept = [
        (tensor, tensor.clone())
        for tensor in (*part.parameters(), *part.buffers())
        if not any(tensor is p for p in own.values())
    ]
    # reset_parameters draws from torch's global numbers: they go on afterwards as if nothing had been drawn.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
        else:
            for p in own.values():
                scale = p.float().std() if p.numel() > 1 else p.float().abs().mean()
                p.copy_(torch.randn(p.shape) * scale)
        for tensor, values in kept:
            tensor.copy_(values)
    done.update(own.values())


def _renewed(network: Network, module: nn.Module) -> Network:
    return Network.from_module(
        module,
        network.input_shape,
        **network.standardisation.arguments,
        labels=network.labels,
        name=f"{network.name}, weights random",
        spacing=network.spacing,
        source=network.source,
        opening=network.opening,
        device=network.device,
        domain=network.domain,
        head=network.head,
        output=network.output,
    )
