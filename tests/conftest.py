"""What tests share: shape checking of vislib's signatures, two torch threads, real data, a browser and a runner."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from vislib.jobs import Runner

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what it runs in the background, and servers would inherit being deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin starve all else on two cores

from jaxtyping import install_import_hook

install_import_hook(["vislib"], "shape_checker.checked")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# Machines differ and are shared: no test fails for being slow, short of pytest's own timeout.
settings.register_profile("vislib", deadline=None)
settings.load_profile("vislib")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of a real ImageNet SqueezeNet and photos; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(
            "needs the real SqueezeNet and photos in ../shared/data, which are not part of the repository"
        )
    return SHARED_DATA


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A real Chromium without a window; `make test` gets one where there is none."""
    from browsing import FLAGS
    from get_chromium import find_chromium
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def runner() -> "Iterator[Runner]":
    """A runner of jobs, whose thread has to end with the test."""
    from job_making import LONG

    from vislib.jobs import Runner

    one = Runner()
    yield one
    assert one.shutdown(LONG)
