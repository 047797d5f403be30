"""Familiar: whether inputs are like those that their network was made for, learned in the background once a network."""

import logging
import os
import threading
from collections import OrderedDict
from contextlib import suppress

import torch

from dashboard.inputs import Input
from vislib.errors import VislibError
from vislib.familiarity import Familiarity, reason, sentence
from vislib.network import Network

log = logging.getLogger(__name__)

_REMEMBERED = 2000  # distances of inputs

_NEAR = (0.0, 0.0)
_Key = tuple[str, str]


def _step_back() -> None:
    """Let this thread have what time others leave; only Linux has priorities of threads."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class Familiar:
    """What all sessions know of it; may be called from any thread, and never waits."""

    def __init__(self) -> None:
        self._worker: threading.Thread | None = None
        self._learned: dict[str, Familiarity | None] = {}
        self._distances: OrderedDict[_Key, tuple[float, float]] = (
            OrderedDict()
        )  # of the limit, of the largest one's
        self._wanted: OrderedDict[_Key, tuple[Network, Input]] = OrderedDict()
        self._news = threading.Condition()
        self._closed = False

    def ask(self, network: Network, one: Input) -> None:
        """Find out, in the background, how far an input is from the network's own kind."""
        key = network.fingerprint, one.key
        with self._news:
            if network.domain is None or key in self._distances or key in self._wanted:
                return
            self._wanted[key] = network, one
            if self._worker is None:
                # Nobody waits for it at the end either: a person's domain may take minutes to make.
                self._worker = threading.Thread(target=self._work, name="learn", daemon=True)
                self._worker.start()
            self._news.notify()

    def known(self, network: Network, one: Input) -> bool:
        """Whether that has been found out, so that `says` is the last word."""
        with self._news:
            return network.domain is None or (network.fingerprint, one.key) in self._distances

    def says(self, network: Network, one: Input) -> str:
        """What a person must know of an input that is unlike the network's own, as far as it is known; else ""."""
        if network.domain is None:
            return ""
        with self._news:
            distance, times = self._distances.get((network.fingerprint, one.key), _NEAR)
        reasons = [reason(times)] if distance > 1 else []
        what = "picture" if one.scan is None else "slice" if one.slice is not None else "volume"
        return sentence(what, [*reasons, *one.altered]) if reasons or one.altered else ""

    def close(self) -> None:
        """The process ends."""
        with self._news:
            self._closed = True
            self._wanted.clear()
            self._news.notify()

    def _work(self) -> None:
        _step_back()
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._wanted)
                if self._closed:
                    return
                key = next(reversed(self._wanted))  # the newest: others may not be looked at any more
                network, one = self._wanted[key]
            distance = self._distance(network, one)
            with self._news:
                self._wanted.pop(key, None)
                self._distances[key] = distance
                while len(self._distances) > _REMEMBERED:
                    self._distances.popitem(last=False)
            del network, one  # an idle thread holds on to nothing

    def _distance(self, network: Network, one: Input) -> tuple[float, float]:
        name = network.fingerprint
        try:
            if name not in self._learned:
                self._learned[name] = None  # also where it fails: a domain is not made again and again
                self._learned[name] = Familiarity.learned(network)
            learned = self._learned[name]
            if learned is None:
                return _NEAR
            distance = float(learned.distances(torch.from_numpy(one.image))[0])
            return distance, distance * learned.margin
        except VislibError as error:
            log.warning("%s", error)
        except Exception:  # nothing that is only a warning may take anything with it
            log.exception("whether an input is like the domain of %s", network.name)
        return _NEAR
