"""The brain data set that vislib makes itself: one template, random anatomy, painted lesions with known masks."""

from models.brain.heads import CLASSES, PLANES, Batch, generate

__all__ = ["CLASSES", "PLANES", "Batch", "generate"]
