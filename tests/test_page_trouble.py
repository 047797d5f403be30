"""Bad input: each gives one clear sentence on the page and in the log, and the server stays up."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboards import ROOT, Dashboard, Visit, card, environment, serve, visit
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

CARDS = {
    "fire": ("raises", "", "[1, 24, 24]"),
    "nan": ("not_a_number", 'opening = "logits"', "[1, 24, 24]"),
    "greedy": ("greedy", 'opening = "conv"', "[1, 24, 24]"),
    "flat": ("working", "", "[24]"),
    "threes": ("working", "", "[3, 24, 24]"),
    "labels": ("working", 'labels = ["one"]', "[1, 24, 24]"),
    "lost": ("working", 'weights = "nowhere.pt"', "[1, 24, 24]"),
    "corrupt": ("working", 'weights = "corrupt.pt"', "[1, 24, 24]"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trouble")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Dashboard]:
    words = ["--network", str(card(folder, "small", "working", 'opening = "2"'))]
    (folder / "corrupt.pt").write_bytes(b"PK\x03\x04 this was a state dict once")
    for name, (factory, extra, shape) in CARDS.items():
        words += ["--network", str(card(folder, name, factory, extra, shape))]
    # a folder where the store's file should be: the run store cannot be used, whoever asks
    (folder / "runs.sqlite").mkdir()
    with serve(folder, *words, "--store", str(folder / "runs.sqlite")) as one:
        yield one


def choose(page: Visit, name: str, folder: Path) -> None:
    page.live()
    page.set("network-select", "value", str(folder / f"{name}.toml"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fire", "the camera is on fire"),
        ("flat", "input"),
        ("threes", "3"),
        ("labels", "label"),
        ("lost", "nowhere.pt"),
        ("corrupt", "corrupt.pt"),
        ("nan", "not a finite number"),
        ("greedy", "memory"),
    ],
)
def test_a_network_that_goes_wrong_is_told_in_one_sentence(
    browser: Browser, server: Dashboard, folder: Path, name: str, said: str
) -> None:
    with visit(browser, server.url()) as page:
        choose(page, name, folder)
        page.until("m('notice').text != ''")
        sentence = page.get("notice", "text")
        assert said in sentence, sentence
        assert "Traceback" not in sentence
        assert len(sentence) < 400
        assert said in server.log
    with visit(browser, server.url()) as again:
        again.live()
        again.state("16 units of 2")


def test_a_network_that_nobody_named_is_not_loaded(browser: Browser, server: Dashboard, folder: Path) -> None:
    (folder / "evil.toml").write_text('factory = "os:getcwd"\ninput = [1, 8, 8]\n')
    with visit(browser, server.url()) as page:
        choose(page, "evil", folder)
        page.until("m('notice').text.includes('There is no network')")
        page.until("m('network-select').value == arg", str(folder / "small.toml"))


def test_a_store_that_cannot_be_used_is_told_and_runs_go_on_in_memory(
    browser: Browser, server: Dashboard
) -> None:
    with visit(browser, server.url()) as page:
        page.live()
        page.until("m('jobs').text.includes('runs.sqlite')")
        page.state("done")


def test_pretrained_weights_that_cannot_be_fetched_are_told(browser: Browser, tmp_path: Path) -> None:
    small = card(tmp_path, "small", "working", 'opening = "2"')
    before = environment()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")  # nobody listens there: as good as no network at all
        words = ("--network", str(small), "--store", str(tmp_path / "runs.sqlite"))
        with serve(tmp_path, *words) as server, visit(browser, server.url()) as page:
            page.live()
            page.set("network-select", "value", "torchvision:resnet18")
            page.until("m('notice').text.includes('resnet18-')")
            assert str(tmp_path / "torch") in page.get("notice", "text")
            page.until("m('network-select').value == arg", str(small))
    assert environment() == before


def test_a_port_in_use_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "bokeh", "serve", "dashboard", "--port", str(port), "--args"]
        done = subprocess.run(
            [*command, "--store", str(tmp_path / "s.sqlite")],
            cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert f"port {port} is already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_serving_from_elsewhere_prints_one_clear_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bokeh", "serve", "dashboard"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert "Traceback" not in done.stderr
    assert len(lines) == 1
    assert "does not exist" in lines[0]


def test_an_unknown_word_on_the_command_line_ends_the_start(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bokeh",
        "serve",
        "dashboard",
        "--port",
        "0",
        "--args",
        "--netwrok",
        "brain2d",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode != 0
    assert "unrecognized arguments: --netwrok" in done.stderr
