"""Sample inputs that ship: brain volumes with lesion masks, one of each class, and photographs."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("samples")


@dataclass(frozen=True)
class Sample:
    """One file to try a network on."""

    name: str
    kind: str  # "volume" (NIfTI) or "photo" (JPEG)
    path: Path
    label: str  # the class of a volume; "" for photographs
    mask: Path | None  # where a volume's lesion is; None for photographs
    source: str  # origin and licence


@cache
def samples() -> tuple[Sample, ...]:
    """Every sample in models/samples/index.toml, volumes first."""
    index = tomllib.loads((FOLDER / "index.toml").read_text(encoding="utf-8"))
    return tuple(
        Sample(
            name=said["name"],
            kind=said["kind"],
            path=FOLDER / said["file"],
            label=said.get("label", ""),
            mask=FOLDER / said["mask"] if "mask" in said else None,
            source=said["source"],
        )
        for said in index["sample"]
    )
