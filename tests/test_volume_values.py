"""Values that a type or float32 cannot show: scaled and said, never black; and what follows a gzip file's end."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_kinds import WRITERS
from volume_making import SHAPE, scan, values
from volume_making import read_written as read

from vislib.errors import ImageError
from vislib.labels import Label
from vislib.volume_opened import Unpacked
from vislib.volumes import Preparation, read_volume


@pytest.mark.parametrize("power", [-300, -45, -40, -33, 33, 38, 40, 200, 300])
@pytest.mark.parametrize("sign", [1, -1])
def test_tiny_and_huge_values_look_like_the_same_scan(tmp_path, power, sign):
    plain = read(tmp_path, sign * scan())
    volume = read(tmp_path, sign * scan() * 10.0**power)
    np.testing.assert_allclose(volume.unit(), plain.unit(), atol=1e-5)
    np.testing.assert_allclose(volume.data * 10.0 ** (volume.power - power), plain.data, rtol=1e-5)
    assert volume.unit().max() == 1
    assert f"all were divided by 1e{volume.power:+d}." in volume.notes[0]
    assert (plain.power, plain.notes) == (0, ())
    for preparation in (Preparation("percentiles"), Preparation("z-score"), Preparation(brain_only=True)):
        np.testing.assert_allclose(preparation.unit(volume), preparation.unit(plain), atol=1e-4)


def test_a_scale_of_the_header_counts_too(tmp_path):
    data = values(SHAPE).astype(np.int16)
    volume = read(tmp_path, data, scl_slope=1e-36, scl_inter=0)
    np.testing.assert_allclose(volume.unit(), read(tmp_path, data.astype(np.float32)).unit(), atol=1e-4)


def test_a_few_absurd_voxels_do_not_make_the_rest_black(tmp_path):
    data = scan()
    plain = read(tmp_path, data)
    data[0, 0, :1] = 1e40
    volume = read(tmp_path, data)
    assert volume.power == 0
    said = "1 voxel that held no finite number, or one beyond float32 (up to 1e+40), was set to "
    assert volume.notes[0].startswith(said)
    np.testing.assert_allclose(volume.unit()[1:], plain.unit()[1:], atol=0.02)
    data[0, 0, 0] = 1e-40  # beside ordinary ones that is 0
    assert read(tmp_path, data).power == 0


def test_infinite_voxels_beside_tiny_ones(tmp_path):
    data = scan() * 1e-35
    data[0, 0] = np.inf, -np.inf, np.nan, *data[0, 0, 3:]
    volume = read(tmp_path, data)
    assert np.isfinite(volume.data).all()
    assert "3 voxels that held no finite number" in volume.notes[1]
    assert volume.unit().max() == 1


@pytest.mark.parametrize("value", [0.0, 7.0, -3.5, 1e40, 1e-40])
def test_a_volume_of_one_value_says_so(tmp_path, value):
    volume = read(tmp_path, np.full(SHAPE, value))
    assert any("there is nothing to see" in note for note in volume.notes)
    assert np.isfinite(volume.unit()).all()


@pytest.mark.parametrize("most", [1, 3, 88, 127, 128, 255])
def test_bytes_that_use_little_of_their_range_are_stretched(tmp_path, most):
    data = (np.arange(504).reshape(SHAPE) % (most + 1)).astype(np.uint8)
    volume = read(tmp_path, data)
    if most >= 128:
        np.testing.assert_allclose(volume.unit(), data / 255, rtol=1e-6)
        assert volume.notes == ()
        assert volume.scaling == "Values of 0 to 255 are divided by 255."
        return
    assert (volume.unit().min(), volume.unit().max()) == (0, 1)
    assert volume.notes[0].startswith(f"Of its 8-bit values only those to {most} are used. Values from 0")
    assert Preparation().unit(volume).max() == 1
    assert volume.scaling in Preparation().words(volume)


def test_a_small_mask_and_twelve_bits_are_not_black(tmp_path):
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[3, 4, 5] = 1
    assert read(tmp_path, mask).unit()[3, 4, 5] == 1
    for kind in (np.int16, np.uint16):
        deep = np.linspace(0, 4095, 504).reshape(SHAPE).astype(kind)
        volume = read(tmp_path, deep)
        np.testing.assert_allclose(volume.unit(), (deep / 4087).clip(0, 1), atol=0.01)


PACKED = ("nifti1.gz", "mgz", "minc1.gz")


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("more", [b"x", b"more bytes, not gzip" * 99, b"\0\0\0x", b"\x1f" * 3])
def test_what_follows_a_packed_file_is_left_out_and_said(tmp_path, kind, more):
    path = WRITERS[kind](tmp_path, values((5, 6, 7)).astype(np.int16))
    plain = read_volume(path)
    path.write_bytes(path.read_bytes() + more)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, plain.data)
    assert [note for note in volume.notes if note not in plain.notes] == [
        "Its gzip file goes on after its end: what follows there was left out."
    ]


@pytest.mark.parametrize("time", [0, 2])
def test_what_follows_a_packed_file_is_said_of_every_time(tmp_path, time):
    path = tmp_path / "times.nii.gz"
    nib.save(nib.Nifti1Image(np.abs(values((5, 6, 7, 3))), np.eye(4)), path)
    plain, content = read_volume(path, time=time), path.read_bytes()
    path.write_bytes(content + b"more")
    volume = read_volume(path, time=time)
    np.testing.assert_array_equal(volume.data, plain.data)
    assert [note for note in volume.notes if "goes on after its end" in note]
    assert len(volume.notes) == len(plain.notes) + 1
    path.write_bytes(content[: -len(content) // 3])  # what is cut off is another time's
    if time == 0:
        np.testing.assert_array_equal(read_volume(path, time=0).data, plain.data)


@pytest.mark.parametrize("kind", PACKED)
def test_zeros_and_further_members_are_part_of_gzip(tmp_path, kind):
    path = WRITERS[kind](tmp_path, values((5, 6, 7)).astype(np.int16))
    plain, whole = read_volume(path), gzip.decompress(path.read_bytes())
    parts = [gzip.compress(whole[at : at + 400]) for at in range(0, len(whole), 400)]
    for packed in (path.read_bytes() + bytes(700), b"".join(parts), (b"\0" * 9).join(parts)):
        path.write_bytes(packed)
        assert read_volume(path).notes == plain.notes
        np.testing.assert_array_equal(read_volume(path).data, plain.data)
    path.write_bytes(b"".join(parts)[:-9])
    with pytest.raises(ImageError, match="damaged or cut off"):
        read_volume(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=3000), places=st.lists(st.integers(0, 3200), max_size=6), size=st.integers(1, 900)
)
def test_unpacked_is_a_file(tmp_path, data, places, size):
    data = data * 40
    path = tmp_path / "one.gz"
    path.write_bytes(gzip.compress(data[:50_000]) + gzip.compress(data[50_000:]) + b"tail")
    with path.open("rb") as raw:
        one = Unpacked(raw)
        for place in places:
            assert one.seek(40 * place) == min(40 * place, len(data))
            got = one.read(size)
            assert data[40 * place :].startswith(got)
            assert bool(got) == (40 * place < len(data))
            assert one.tell() == min(40 * place, len(data)) + len(got)
        one.seek(0)
        assert one.readall() == data
        assert one.trailing


def regions(count: int) -> np.ndarray:
    """A volume of so many regions, each with a number from 0 on."""
    numbers = np.random.default_rng(0).permutation(np.arange(120) % count).reshape(6, 5, 4)
    return numbers.repeat(3, 0).repeat(3, 1).repeat(3, 2)


LARGE_NUMBERS = [0, 997, 312_782_546, 312_782_550, 312_782_554, 614_454_277]


@pytest.mark.parametrize("kind", [np.uint32, np.int32, np.int64, np.float64])
@pytest.mark.parametrize("many", [False, True])
def test_labels_that_float32_cannot_tell_apart_are_counted_and_called_by_their_numbers(tmp_path, kind, many):
    numbers = [*LARGE_NUMBERS, *range(614_454_300, 614_454_330)] if many else LARGE_NUMBERS
    places = regions(len(numbers))
    volume = read(tmp_path, np.array(numbers)[places].astype(kind))
    assert volume.labelled
    assert volume.numbers == tuple(numbers)
    np.testing.assert_array_equal(
        np.array(volume.numbers)[volume.data.astype(int)], np.array(numbers)[places]
    )
    assert volume.labels[3] == Label("", number=312_782_550)
    named = volume.named({312_782_550: Label("VISa", (1, 2, 3)), 3: Label("another")})
    assert named[3] == Label("VISa", (1, 2, 3), 312_782_550)
    assert named[4] == Label("", number=312_782_554)
    assert f"up to {numbers[-1]:,}" in volume.notes[0]


def test_labels_that_float32_holds_keep_their_numbers(tmp_path):
    places = regions(4)
    numbers = np.array([0, 2, 14175, 2**24])
    volume = read(tmp_path, numbers[places].astype(np.int32))
    assert (volume.numbers, volume.notes) == ((), ())
    np.testing.assert_array_equal(volume.data, numbers[places])
    assert volume.named({2: Label("two")}) == {2: Label("two")}


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_values_too_near_each_other_for_their_size_are_said(tmp_path, kind):
    data = 2**30 + np.round(scan())  # some hundred different values, a step of float32 is 128 there
    volume = read(tmp_path, data.astype(kind))
    assert "are so near each other that they are told apart in" in volume.notes[0]
    assert "1 step only" in volume.notes[0]
    assert not read(tmp_path, 1000 + scan()).notes
    assert not read(tmp_path, (scan() * 1e6).astype(kind)).notes  # rounded, yet in steps enough
