"""The documents stay true: tables made from the registries, names that exist, links that lead somewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import models
from vislib.ascent import PARAMETERS, PRESETS
from vislib.attribution import METHODS

ROOT = Path(__file__).resolve().parents[1]


def presets_table() -> str:
    """The README's table of presets, made from the presets themselves."""
    rows = [f"| {preset.name} | {preset.description} | {preset.source} |" for preset in PRESETS.values()]
    return "\n".join(["| preset | what it is | source |", "|---|---|---|", *rows])


def test_the_readme_lists_the_presets_there_are() -> None:
    assert presets_table() in (ROOT / "README.md").read_text()


def methods_table() -> str:
    """The README's table of attribution methods, made from the methods themselves."""
    rows = [f"| {one.name} | {one.family} | {one.description} | {one.source} |" for one in METHODS.values()]
    return "\n".join(["| method | family | what it shows | source |", "|---|---|---|---|", *rows])


def test_the_readme_lists_the_methods_there_are() -> None:
    assert methods_table() in (ROOT / "README.md").read_text()


def test_methods_describe_themselves() -> None:
    for method in METHODS.values():
        assert method.description
        assert method.source
        for parameter in method.parameters:
            assert parameter.description
            assert parameter.check(parameter.default) == parameter.default


def test_presets_and_parameters_describe_themselves() -> None:
    for preset in PRESETS.values():
        assert preset.description
        assert preset.source
    for parameter in PARAMETERS.values():
        assert parameter.description
        assert parameter.choices or parameter.low < parameter.high


def test_links_and_pictures_of_the_documents_are_there() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "dashboard/README.md"):
        text = (ROOT / document).read_text()
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text) + re.findall(r'src="([^"]+)"', text):
            assert ((ROOT / document).parent / target).exists(), (document, target)


def test_vislib_knows_no_bokeh() -> None:
    code = (
        "import pkgutil, importlib, sys, vislib\n"
        "for module in pkgutil.walk_packages(vislib.__path__, 'vislib.'):\n"
        "    importlib.import_module(module.name)\n"
        "wrong = [name for name in sys.modules if name.split('.')[0] in ('bokeh', 'dashboard', 'models')]\n"
        "sys.exit(repr(wrong) if wrong else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_vislib_starts_nothing() -> None:
    code = (
        "import threading, vislib.network, vislib.ascent, vislib.jobs, vislib.store\n"
        "print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "1\n"
    assert done.stderr == ""


def test_the_readmes_example_of_a_volume_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [one for one in examples if "attribute_volume" in one]
    sample = next(one for one in models.samples() if one.name == "brain_tumour")
    shutil.copy(sample.path, tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert re.search(r"\d+ mm³ around \(-?\d", capsys.readouterr().out)
    np.testing.assert_array_equal(nib.load("map.nii.gz").affine, nib.load("scan.nii.gz").affine)
