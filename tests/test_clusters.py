"""Clusters of a map: as a flood fill finds them, their place in millimetres, and the maximum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_making import affines, assert_sentence

from vislib.clusters import clusters, maximum
from vislib.errors import AttributionError

AFFINE = np.diag([2.0, 3.0, 0.5, 1.0])


def filled(values: np.ndarray, threshold: float, signed: bool) -> list[list[tuple[int, int, int]]]:
    """Every cluster's voxels, by a flood fill from one voxel to its 26 neighbours."""
    steps = [step for step in np.ndindex(3, 3, 3) if step != (1, 1, 1)]
    signs = (1, -1) if signed else (1,)
    found = []
    for sign in signs:
        left = {at for at in np.ndindex(values.shape) if sign * values[at] >= threshold}
        while left:
            own, edge = [], [left.pop()]
            while edge:
                at = edge.pop()
                own.append(at)
                for step in steps:
                    near = tuple(int(a + b - 1) for a, b in zip(at, step, strict=True))
                    if near in left:
                        left.remove(near)
                        edge.append(near)
            found.append(sorted(own))
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), signed=st.booleans(), affine=affines(), threshold=st.floats(0.5, 1.8))
def test_clusters_are_those_of_a_flood_fill(seed, signed, affine, threshold):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(7, 6, 8)).astype(np.float32)
    values[generator.random(values.shape) < 0.1] = np.nan
    got = clusters(values, affine, threshold, signed=signed, most=1000)
    wanted = filled(values, threshold, signed)
    assert sum(one.voxels for one in got) == sum(map(len, wanted))
    assert [one.voxels for one in got] == sorted((len(own) for own in wanted), reverse=True)
    peaks = {}
    for own in wanted:
        sizes = np.array([abs(float(values[at])) for at in own])
        peaks[own[int(sizes.argmax())]] = own, sizes
    for one in got:
        own, sizes = peaks.pop(one.peak_ijk)
        assert one.voxels == len(own)
        assert one.peak == values[one.peak_ijk]
        volume = abs(np.dot(np.cross(affine[:3, 0], affine[:3, 1]), affine[:3, 2]))
        assert one.mm3 == pytest.approx(len(own) * volume)
        np.testing.assert_allclose(one.peak_mm, (affine @ [*one.peak_ijk, 1])[:3], atol=1e-9)
        centre = sum(size * np.array(at) for size, at in zip(sizes, own, strict=True)) / sizes.sum()
        np.testing.assert_allclose(one.centre_mm, (affine @ [*centre, 1])[:3], atol=1e-6)
    assert not peaks
    order = [(-one.voxels, -abs(one.peak)) for one in got]
    assert order == sorted(order)
    assert clusters(values, affine, threshold, signed=signed, most=3) == got[:3]


def test_only_the_largest_are_given_and_of_equals_the_strongest():
    values = np.zeros((30, 30, 3), np.float32)
    values[::2, ::2, 1] = np.random.default_rng(0).uniform(1, 2, (15, 15))  # touch nowhere
    got = clusters(values, AFFINE, 0.5)
    assert [one.voxels for one in got] == [1] * 10
    assert [one.peak for one in got] == sorted(values[values > 0].tolist(), reverse=True)[:10]
    assert got[0].mm3 == pytest.approx(3.0)
    assert clusters(values, AFFINE, 0.5, most=0) == []
    assert clusters(values, AFFINE, 2.5) == []


def test_signs_do_not_share_a_cluster_and_corners_join():
    values = np.zeros((6, 6, 6), np.float32)
    values[1, 1, 1], values[2, 2, 2] = 1, 3  # touch at a corner
    values[2, 2, 3], values[2, 2, 4], values[2, 3, 4] = -2, -5, -2
    above, *none = clusters(values, np.eye(4), 1)
    assert none == []
    assert (above.voxels, above.peak_ijk, above.centre_mm) == (2, (2, 2, 2), (1.75, 1.75, 1.75))
    below, again = clusters(values, np.eye(4), 1, signed=True)
    assert again == above
    assert (below.voxels, below.peak, below.peak_ijk) == (3, -5.0, (2, 2, 4))


def test_what_is_not_finite_belongs_to_none():
    values = np.zeros((4, 4, 4), np.float32)
    values[1, 1] = np.nan, np.inf, 2, -np.inf
    (only,) = clusters(values, np.eye(4), 1, signed=True)
    assert (only.voxels, only.peak_ijk) == (1, (1, 1, 2))
    assert clusters(np.full((3, 3, 3), np.nan, np.float32), np.eye(4), 1) == []


def test_the_maximum():
    values = np.random.default_rng(2).normal(size=(5, 6, 7)).astype(np.float32)
    values[2, 3, 4], values[1, 5, 0], values[0, 0, 0] = 9, -11, np.nan
    values[4, 4, 4] = 9
    assert maximum(values, signed=False) == (2, 3, 4)
    assert maximum(values, signed=True) == (1, 5, 0)
    values[3] = np.inf
    assert maximum(values, signed=True) == (1, 5, 0)
    negative = -1 - np.random.default_rng(3).random((4, 4, 4)).astype(np.float32)
    assert maximum(negative, signed=False) == np.unravel_index(negative.argmax(), negative.shape)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_is_above_0(threshold):
    with pytest.raises(AttributionError, match="above 0") as caught:
        clusters(np.ones((2, 2, 2), np.float32), np.eye(4), threshold)
    assert_sentence(caught.value)


def test_a_map_without_a_number_has_no_maximum():
    with pytest.raises(AttributionError, match="no finite number") as caught:
        maximum(np.full((2, 2, 2), np.nan, np.float32), signed=True)
    assert_sentence(caught.value)
