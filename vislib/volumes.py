"""Volumes: MRI data with its place in space, under one name: read, seen, prepared, resampled, written."""

from vislib.brain_mask import brain_mask
from vislib.label_tables import read_label_table
from vislib.labels import Label, is_labels
from vislib.placement import Placement
from vislib.preparation import SCALINGS, STORED, Preparation
from vislib.resample import back_to_own, lay_over, network_grid, resample, straight_grid, to_network
from vislib.slices import VIEWS, Slice, View, best_slice, caption, position, slice_grid, slice_image, slices
from vislib.volume import PLANES, Volume, Window
from vislib.volume_files import read_dicom, read_volume, write_map

__all__ = [
    "PLANES",
    "SCALINGS",
    "STORED",
    "VIEWS",
    "Label",
    "Placement",
    "Preparation",
    "Slice",
    "View",
    "Volume",
    "Window",
    "back_to_own",
    "best_slice",
    "brain_mask",
    "caption",
    "is_labels",
    "lay_over",
    "network_grid",
    "position",
    "read_dicom",
    "read_label_table",
    "read_volume",
    "resample",
    "slice_grid",
    "slice_image",
    "slices",
    "straight_grid",
    "to_network",
    "write_map",
]
