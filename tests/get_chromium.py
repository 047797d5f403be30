"""Make sure that a Chromium is there for the browser tests: the system's own, else Playwright's download."""

import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome on this machine, Playwright's own included, or None."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if MAC.exists():
        return str(MAC)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    return str(path) if path.exists() else None


def main() -> None:
    """Download Playwright's Chromium where the machine has none."""
    if find_chromium() is None:
        print("No Chromium found: downloading Playwright's.")  # noqa: T201
        done = subprocess.run(
            [sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"], check=False
        )
        if done.returncode:
            sys.exit(
                "No Chromium could be installed: install Chromium or Chrome yourself, then run `make test` again."
            )


if __name__ == "__main__":
    main()
