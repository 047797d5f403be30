"""Run every benchmark and print the machine and the tables, ready for the README."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

NAMES = ("ascent", "attribution", "occlusion", "page", "volume", "large")


def machine() -> str:
    """One line about the machine."""
    model = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        names = [
            line.split(":", 1)[1].strip() for line in facts.read_text().splitlines() if "model name" in line
        ]
        flags = next((line for line in facts.read_text().splitlines() if line.startswith("flags")), "")
        extras = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name}" in flags]
        model = f"{len(names)} x {names[0]} ({', '.join(extras)})" if names else model
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "bokeh", "numpy"))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {gpu}; {platform.system()}, Python {platform.python_version()}, {packages}"


def main() -> None:
    """Each in a process of its own, so that none finds the machine warmed or cluttered by another."""
    print(machine(), "\n", flush=True)
    for name in sys.argv[1:] or NAMES:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
        print(flush=True)


if __name__ == "__main__":
    main()
