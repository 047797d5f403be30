"""The template file: small, what nilearn's maps say, with its notice."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from models.brain import template as module
from models.brain.template import LEVELS, PATH, SPACING, downsample, quantise, template


def test_the_file_is_small_and_says_where_it_is_from():
    assert PATH.stat().st_size < 4e6
    image = nib.load(PATH)
    assert image.shape == (131, 155, 126, 3)
    assert image.get_data_dtype() == np.uint8
    assert b"MNI152" in image.header["descrip"].item()
    notice = PATH.with_name("TEMPLATE.md").read_text(encoding="utf-8")
    assert "Copyright (C) 1993–2009 Louis Collins" in notice
    assert "Permission to use, copy, modify, and distribute" in notice


def test_tissues_are_probabilities_on_the_right_grid():
    read = template()
    assert read.maps.shape == (3, 131, 155, 126)
    assert float(read.maps.min()) == 0
    assert float(read.maps.max()) == 1
    assert float((read.maps[1] + read.maps[2]).max()) < 1.1
    np.testing.assert_allclose(np.diag(read.affine)[:3], SPACING)
    litres = float(read.maps[1:].sum()) * SPACING**3 / 1e6
    assert 1.0 < litres < 1.9  # grey and white matter of an adult


def test_downsample_keeps_a_ramp_and_reads_every_step():
    ramp = np.broadcast_to(np.arange(24.0, dtype=np.float32)[:, None, None], (24, 12, 12))
    small = downsample(ramp, 1.5)
    assert small.shape == (16, 8, 8)
    np.testing.assert_allclose(small[3:-3, 4, 4], 1.5 * np.arange(16)[3:-3], atol=1e-3)


def test_quantise_keeps_the_ends_and_few_levels():
    line = np.linspace(-0.1, 1.1, 5000)
    levels = quantise(line)
    assert levels.dtype == np.uint8
    assert set(levels[[0, -1]]) == {0, 255}
    assert len(np.unique(levels)) == LEVELS
    assert np.abs(levels / 255 - line.clip(0, 1)).max() < 0.5 / (LEVELS - 1) + 0.5 / 255


def test_rebuilding_gives_the_same_file(tmp_path):
    pytest.importorskip("nilearn", reason="needs nilearn (the extra 'rebuild') to build the template again")
    target = tmp_path / "again.nii.gz"
    code = f"from models.brain.template import build; from pathlib import Path; build(Path({str(target)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(module.__file__).parents[2])
    assert np.array_equal(np.asarray(nib.load(target).dataobj), np.asarray(nib.load(PATH).dataobj))
