"""What all sessions of one server process share: networks, runners, the run store and the runs in memory."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import models
from dashboard.answers import Answers
from dashboard.familiar import Familiar
from dashboard.options import Options
from dashboard.run import Run
from vislib.ascent import find_defaults
from vislib.errors import CardError, VislibError
from vislib.jobs import Runner
from vislib.network import Network
from vislib.store import RunStore, spec_id
from vislib.words import counted

log = logging.getLogger(__name__)

_RUNS_IN_MEMORY = 12
_LONGEST_LINE = 400


def _shorten(record: logging.LogRecord) -> bool:
    """Keep Bokeh's complaint about a session's module, without the megabyte of every module's name in it."""
    text = record.getMessage()
    if len(text) > _LONGEST_LINE:
        record.msg, record.args = text[:_LONGEST_LINE] + " …", ()
    return True


class Services:
    """Made once a process, by the first session; everything here may be called from any thread."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.store = RunStore(options.store)
        self.device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # What has ended is remembered by the store and the answers; a job itself may hold a large volume.
        self.runner = Runner(str(self.device), keep=0)
        self.answers = Answers(self.runner)
        self.familiar = Familiar()
        self.loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self.painter = ThreadPoolExecutor(1, thread_name_prefix="paint")
        self.reader = ThreadPoolExecutor(
            1, thread_name_prefix="read"
        )  # of what people send, which may take long
        self._networks: dict[str, Network] = {}
        self._runs: dict[str, Run] = {}
        self._lock = threading.RLock()
        self.default_network = options.networks[0] if options.networks else models.names()[0]

    @property
    def device_text(self) -> str:
        """The device in a word or two, for the header."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU, {counted(os.cpu_count() or 1, 'core')}"

    def network_options(self, *also: str) -> dict[str, list[str]]:
        """What the network menu offers, in groups; `also` names what must be among them."""
        yours = [name for name in self.options.networks if name not in models.names()]
        groups = {
            "yours": yours,
            "shipped": list(models.names()),
            "torchvision": list(models.torchvision_names()),
        }
        known = [name for names in groups.values() for name in names]
        groups["yours"] += [name for name in also if name and name not in known]
        return {group: names for group, names in groups.items() if names}

    def may_load(self, name: str) -> bool:
        """Whether a browser may ask for this network: shipped, torchvision's, or named when the server was started."""
        return any(name in names for names in self.network_options().values())

    def network(self, name: str, progress: Callable[[int, int], None] | None = None) -> Network:
        """The network of that name, loaded once; may take long (a download), so not for the event loop.

        Raises CardError or NetworkError with the sentence to show.
        """
        with self._lock:
            if name in self._networks:
                return self._networks[name]
        if not self.may_load(name):
            raise CardError(
                f"There is no network {name!r} here; choose one from the menu, or start the server with --network."
            )
        first = bool(self.options.networks) and name == self.options.networks[0]
        weights = self.options.weights if first else None
        try:
            network = models.load(name, weights=weights, device=self.device, progress=progress)
            # The page asks for these on its event loop, where nothing may take long.
            find_defaults(network)
            _ = network.fingerprint
        except VislibError:
            raise
        except Exception as error:
            log.exception("loading %s", name)
            raise CardError(f"{name} could not be loaded: {type(error).__name__}: {error}") from error
        with self._lock:
            return self._networks.setdefault(name, network)

    def known_network(self, name: str) -> Network | None:
        """The network of that name where it is loaded already."""
        with self._lock:
            return self._networks.get(name)

    def network_of(self, spec: Mapping[str, Any]) -> Network:
        """The network that a stored spec was computed with; may take long like `network`.

        Raises CardError where it is not to be had any more or its weights have changed since.
        """
        name, fingerprint = str(spec.get("network")), spec.get("fingerprint")
        with self._lock:
            for network in self._networks.values():
                if network.fingerprint == fingerprint:
                    return network
        problem: VislibError = CardError(
            f"This run was made with other weights of {name} than those that are here now: "
            "it is kept, but cannot be opened with them."
        )
        for offered in self._offered(name):
            try:
                network = self.network(offered)
            except VislibError as error:
                problem = error
                continue
            if network.fingerprint == fingerprint:
                return network
        raise problem

    def _offered(self, name: str) -> list[str]:
        """What the menu calls networks of that name: that one itself, then a person's own by their cards' paths."""
        listed = [one for names in self.network_options().values() for one in names]
        own = [one for one in listed if one != name and one.endswith(".toml") and Path(one).stem == name]
        return ([name] if name in listed else []) + own or [name]

    def name_of(self, network: Network) -> str:
        """The name under which a network was loaded."""
        with self._lock:
            return next(name for name, known in self._networks.items() if known is network)

    def run(self, network: Network, spec: Mapping[str, Any]) -> Run:
        """The one run of that spec in this process: in memory, from the store, or new; nothing is begun."""
        with self._lock:
            run = self._runs.pop(spec_id(spec), None)
            if run is None:
                run = Run(self, network, dict(spec), self.store.find(spec))
            self._runs[run.id] = run  # newest last
            self._forget_idle()
        return run

    def existing(self, network: Network, spec: Mapping[str, Any]) -> Run | None:
        """The run of that spec where it is in memory or in the store; nothing is begun."""
        with self._lock:
            run = self._runs.get(spec_id(spec))
            if run is None and (stored := self.store.find(spec)) is not None:
                run = self._runs[spec_id(spec)] = Run(self, network, dict(spec), stored)
            return run

    def forget(self, run_id: str) -> None:
        """Stop a run and drop it from memory, since it is being deleted."""
        with self._lock:
            run = self._runs.pop(run_id, None)
        if run is not None:
            run.stop()

    def in_memory(self, run_id: str) -> Run | None:
        """The run of that id where this process holds it."""
        with self._lock:
            return self._runs.get(run_id)

    def climbing(self) -> list[Run]:
        """Runs that this process computes or will."""
        with self._lock:
            return [run for run in self._runs.values() if run.state in ("queued", "running")]

    def _forget_idle(self) -> None:
        idle = [run for run in self._runs.values() if not run.watchers and not run.active]
        for run in idle[: max(0, len(self._runs) - _RUNS_IN_MEMORY)]:
            del self._runs[run.id]

    def close(self) -> None:
        """Stop the runner and close the store; runs that climb are marked so that they can be resumed."""
        self.runner.shutdown(timeout=5)
        self.familiar.close()
        self.loader.shutdown(wait=False, cancel_futures=True)
        self.painter.shutdown(wait=False, cancel_futures=True)
        self.reader.shutdown(wait=False, cancel_futures=True)
        self.store.close()


_services: Services | None = None
_making = threading.Lock()


def services(options: Options) -> Services:
    """The services of this process; the first caller's options count."""
    global _services  # noqa: PLW0603 - one a process is the very point
    with _making:
        if _services is None:
            _services = Services(options)
            logging.getLogger("bokeh.document.modules").addFilter(_shorten)
        return _services


def close_services() -> None:
    """Close the services of this process where there are any."""
    global _services  # noqa: PLW0603
    with _making:
        if _services is not None:
            _services.close()
        _services = None
