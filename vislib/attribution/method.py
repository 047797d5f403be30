"""Method: one way to attribute, described well enough to fill a menu, a table and a test; and METHODS, all of them."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from vislib import parameters
from vislib.attribution.query import Query
from vislib.attribution.result import Attribution
from vislib.errors import AttributionError
from vislib.network import Network
from vislib.parameters import Parameter, Value

Compute = Callable[[Query], Iterator[Attribution]]
Need = Literal["layer", "GAP head", "ReLUs", "max pooling"]
FAMILIES = ("gradients", "class activation maps", "perturbation", "deconvolution")


@dataclass(frozen=True, eq=False)
class Method:
    """An entry of METHODS.

    needs    what a network must have: "layer" (a layer with positions to take maps from; the query names it),
             "GAP head" (global average pooling, then one linear layer), "ReLUs" (works without, but then equals
             the plain gradient and says so), "max pooling" (likewise)
    signed   whether values below 0 mean something
    quick    answers in about a second on a small network: worth computing at once
    compute  yields the answer, coarse first; a closed generator has cleaned up after itself
    check    says in a sentence why a network cannot be asked, or ""
    """

    name: str
    family: str
    description: str
    source: str
    needs: tuple[Need, ...]
    signed: bool
    quick: bool
    parameters: tuple[Parameter, ...]
    compute: Compute
    check: Callable[[Network], str]

    def defaults(self) -> dict[str, Value]:
        """The published value of every parameter."""
        return {p.name: p.default for p in self.parameters if p.default is not None}

    def values(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """Every parameter's value, the given ones checked; raises AttributionError."""
        known = {p.name: p for p in self.parameters}
        for name in given:
            if name not in known:
                raise AttributionError(
                    f"{self.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}."
                )
        return self.defaults() | {name: known[name].check(value) for name, value in given.items()}


_methods: dict[str, Method] = {}
METHODS: Mapping[str, Method] = MappingProxyType(_methods)

parameter = functools.partial(parameters.Parameter, error=AttributionError)


def _always(_network: Network) -> str:
    return ""


def method(
    name: str,
    *,
    family: str,
    description: str,
    source: str,
    needs: tuple[Need, ...] = (),
    signed: bool = True,
    quick: bool = True,
    parameters: tuple[Parameter, ...] = (),
    check: Callable[[Network], str] = _always,
) -> Callable[[Compute], Compute]:
    """Put a function into METHODS under `name`."""

    def register(compute: Compute) -> Compute:
        if name in _methods or family not in FAMILIES or any(p.default is None for p in parameters):
            raise ValueError(
                f"the method {name!r} is registered twice, or its family or a default is missing"
            )
        _methods[name] = Method(
            name, family, description, source, needs, signed, quick, parameters, compute, check
        )
        return compute

    return register
