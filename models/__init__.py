"""Networks by name: those that ship, torchvision's convolutional ones, and a person's own through a card."""

from models.cards import load, names
from models.inputs import Sample, samples
from models.vision import torchvision_names

__all__ = ["Sample", "load", "names", "samples", "torchvision_names"]
