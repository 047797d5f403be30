"""Makes models/samples: one small volume of each class with its lesion mask, and two photographs of scikit-learn's.

`python -m models.brain.samples` writes the same files again.
"""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from models.brain.heads import generate
from models.brain.lesions import CLASSES

FOLDER = Path(__file__).parents[1] / "samples"
SPATIAL, SPACING = (76, 96, 80), 2.0  # voxels, mm
# One name and seed for each class, chosen for a lesion that lies well inside the brain.
VOLUMES = (("brain_healthy", 5), ("brain_tumour", 11), ("brain_white_matter", 6), ("brain_dark", 10))
LEVELS = 100  # grey levels kept: finer ones are noise, and cost bytes
PHOTOS = (
    ("china", "danielbuechele", "https://www.flickr.com/photos/danielbuechele/6061409035/"),
    ("flower", "vultilion", "https://www.flickr.com/photos/vultilion/6056698931/"),
)
PHOTO_SIZE = (480, 320)
MADE = "made by models/brain from the MNI152 template (models/brain/TEMPLATE.md), held-out lesion shapes"


def write_volume(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """A NIfTI file of uint8 `values`; the same input gives the same bytes."""
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


def grey(volume: Tensor) -> np.ndarray:
    """`volume` in [0, 1] as uint8 of LEVELS values."""
    return np.round(np.round(volume.numpy() * LEVELS) / LEVELS * 255).astype(np.uint8)


def build(folder: Path = FOLDER) -> None:
    """Write the volumes, their masks, the photographs and index.toml into `folder`."""
    entries = []
    for label, (name, seed) in enumerate(VOLUMES):
        every = range(len(CLASSES))
        batch = generate(len(CLASSES), seed, "held-out", labels=every, spatial=SPATIAL, spacing=SPACING)
        affine = batch.affine.double().numpy()
        write_volume(folder / f"{name}.nii.gz", grey(batch.images[label, 0]), affine)
        write_volume(folder / f"{name}_mask.nii.gz", batch.lesions[label, 0].numpy().astype(np.uint8), affine)
        entries.append(
            f'name = "{name}"\nkind = "volume"\nfile = "{name}.nii.gz"\nmask = "{name}_mask.nii.gz"\n'
            f'label = "{CLASSES[label]}"\nsource = "{MADE}"\n'
        )
    for name, author, address in PHOTOS:
        picture = Image.fromarray(load_sample_image(f"{name}.jpg")).resize(
            PHOTO_SIZE, Image.Resampling.LANCZOS
        )
        picture.save(folder / f"{name}.jpg", quality=88, optimize=True)
        source = f"{author}, {address}, CC BY 2.0, by way of scikit-learn; made smaller"
        entries.append(f'name = "{name}"\nkind = "photo"\nfile = "{name}.jpg"\nsource = "{source}"\n')
    text = "\n".join(f"[[sample]]\n{entry}" for entry in entries)
    (folder / "index.toml").write_text(
        f"# Written by `python -m models.brain.samples`.\n\n{text}", encoding="utf-8"
    )


if __name__ == "__main__":
    build()
