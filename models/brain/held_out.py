"""Held-out slices with a lesion: pictures, labels and masks that an explanation is measured against."""

from collections.abc import Sequence

from models.brain.heads import Batch, generate
from models.brain.lesions import CLASSES
from models.brain.template import SPACING

WITH_LESION = tuple(range(1, len(CLASSES)))


def lesions(n: int, seed: int, spatial: Sequence[int] = (128, 128), spacing: float = SPACING) -> Batch:
    """`n` pictures whose lesion shapes and deformations no training saw, the three lesion classes in turn."""
    labels = [WITH_LESION[number % len(WITH_LESION)] for number in range(n)]
    return generate(n, seed, "held-out", labels=labels, spatial=spatial, spacing=spacing)
