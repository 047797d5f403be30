"""SPM's .mat file beside an Analyze pair: the affine that places its voxels."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64
from scipy.io import loadmat

from vislib.volume_source import is_sound

BYTES = 100_000  # an affine has 128 of them; what is packed may unpack to a thousand times as much


def affine_of_mat(path: Path) -> Float64[np.ndarray, "4 4"] | None:
    """The affine (voxels counted from 0, to mm) of a .mat file by SPM 99 or later; None where it holds none.

    `mat` counts; else `M`, which does not know that SPM flips the first axis. Voxels count from 1 there. Nothing that
    such a file may hold is executed.
    """
    if path.stat().st_size > BYTES:
        return None
    try:
        found = loadmat(str(path), variable_names=["mat", "M"])
        stored = found["mat"] if "mat" in found else np.diag([-1.0, 1, 1, 1]) @ found["M"]
        affine = np.array(stored, np.float64)
    except Exception:  # whatever scipy's reader meets in a damaged or newer file
        return None
    if affine.ndim == 3:
        affine = affine[:, :, 0]  # one for each time
    if affine.shape != (4, 4):
        return None
    affine[:3, 3] += affine[:3, :3].sum(1)
    return affine if is_sound(affine) else None
