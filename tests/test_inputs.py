"""Inputs and scans: uploads kept and dropped, slices and volumes prepared, planes of maps shown where they lie."""

import gzip
import io
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from volume_making import nifti

from dashboard import scans
from dashboard.answers import Answers
from dashboard.inputs import Choice, Input, Inputs, place_of
from dashboard.scans import MOST_UPLOADS, Scan, Scans
from vislib.attribution import Attribution
from vislib.errors import ImageError
from vislib.images import looks_like_picture
from vislib.jobs import Runner
from vislib.network import Network
from vislib.preparation import Preparation
from vislib.volumes import read_volume

SHAPE = (20, 26, 22)
BY_HAND = Preparation("window", 0, 200)
AFFINE = np.array(
    [[-2.0, 0, 0, 18], [0, 0, 3.0, -40], [0, 2.5, 0, -30], [0, 0, 0, 1]]
)  # x flipped, y and z swapped


def flat(channels: int = 1) -> Network:
    """A network of slices."""
    layers = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return Network.from_module(layers, (channels, 40, 36), name="flat", spacing=(2.0, 2.0))


def deep() -> Network:
    """A network of volumes."""
    layers = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return Network.from_module(layers, (1, 24, 28, 16), name="deep", spacing=(2.0, 2.5, 3.0))


def data(times: int = 1) -> np.ndarray:
    """Dim noise with one bright voxel at (4, 20, 5) of the file."""
    values = np.random.default_rng(0).uniform(0, 5, (*SHAPE, times)).astype(np.float32)
    values[4, 20, 5] = 200 + 10 * np.arange(times)
    return values if times > 1 else values[..., 0]


def file(values: np.ndarray) -> io.BytesIO:
    return io.BytesIO(nifti(values, AFFINE))


@pytest.fixture
def inputs():
    one = Inputs()
    yield one
    one.close()


def test_an_uploaded_volume_is_read_as_the_file_says(inputs: Inputs, tmp_path: Path) -> None:
    name = inputs.add("../../mine.nii", file(data()))
    path = tmp_path / "mine.nii"
    path.write_bytes(file(data()).getvalue())
    wanted = read_volume(path)
    scan = inputs.scan(Choice(name))
    assert scan is not None
    np.testing.assert_array_equal(scan.volume.data, wanted.data)
    np.testing.assert_array_equal(scan.volume.affine, wanted.affine)
    assert "/" not in name
    assert inputs.names()["uploaded"] == [name]
    assert inputs.is_volume(name)
    assert not inputs.is_sample(name)


def test_what_is_packed_is_read_too_and_a_second_of_the_name_is_told_apart(inputs: Inputs) -> None:
    first = inputs.add("mine.nii.gz", io.BytesIO(gzip.compress(file(data()).getvalue())))
    second = inputs.add("mine.nii.gz", file(2 * data()))
    assert (first, second) == ("mine.nii.gz", "mine.nii.gz (2)")
    one, two = (inputs.scan(Choice(name)).volume.data.max() for name in (first, second))
    assert (one, two) == (200, 400)


def test_a_refused_upload_leaves_nothing(inputs: Inputs) -> None:
    with pytest.raises(ImageError, match=r"broken\.nii"):
        inputs.add("broken.nii", io.BytesIO(file(data()).getvalue()[:5000]))
    assert not inputs.scans.uploads
    assert not list(Path(inputs.scans._folder.name).iterdir())


def test_the_oldest_uploads_are_dropped_and_closing_deletes_the_rest(inputs: Inputs) -> None:
    names = [inputs.add(f"{number}.nii", file(data())) for number in range(MOST_UPLOADS + 2)]
    assert inputs.scans.uploads == names[2:]
    folder = Path(inputs.scans._folder.name)
    assert len(list(folder.iterdir())) == MOST_UPLOADS
    assert inputs.scan(Choice(names[0])) is None
    with pytest.raises(ImageError, match="There is no input"):
        inputs.prepare(Choice(names[0]), flat(), None)
    inputs.close()
    assert not folder.exists()


def test_few_uploads_stay_in_memory(inputs: Inputs) -> None:
    names = [inputs.add(f"{number}.nii", file(data())) for number in range(4)]
    held = [name for name, _ in inputs.scans._held]
    assert held == names[-2:]
    assert inputs.scan(Choice(names[0])).volume.data.max() == 200  # read again
    assert len(inputs.scans._held) == 2


def test_a_time_point_is_read_when_it_is_chosen(inputs: Inputs) -> None:
    name = inputs.add("film.nii", file(data(times=3)))
    brightest = [inputs.scan(Choice(name, time=time)).volume.data.max() for time in (0, 1, 2)]
    assert brightest == [200, 210, 220]
    inputs.scans._held.clear()
    beyond = inputs.scan(Choice(name, time=9))
    assert beyond.volume.time == 2
    assert inputs.scan(Choice(name, time=2)) is beyond  # held
    assert ", time 2" in inputs.prepare(Choice(name, time=2), flat(), beyond).words


def test_equal_volumes_have_equal_keys_and_others_do_not(inputs: Inputs) -> None:
    same = [inputs.add("a.nii", file(data())), inputs.add("b.nii", file(data()))]
    keys = [inputs.scan(Choice(name)).key for name in same]
    assert keys[0] == keys[1]
    other = inputs.add("c.nii", file(data() + 1))
    assert inputs.scan(Choice(other)).key != keys[0]
    moved = AFFINE.copy()
    moved[0, 3] += 1
    shifted = inputs.add("d.nii", io.BytesIO(nifti(data(), moved)))
    assert inputs.scan(Choice(shifted)).key != keys[0]


def marked(inputs: Inputs) -> tuple[Scan, tuple[int, int, int]]:
    """The scan and where its bright voxel is, in RAS+ order."""
    scan = inputs.scan(Choice(inputs.add("mine.nii", file(data()))))
    i, j, k = np.unravel_index(scan.volume.data.argmax(), scan.volume.data.shape)
    return scan, (int(i), int(j), int(k))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_3d_networks_planes_show_what_a_2d_networks_slices_show(inputs: Inputs, plane: str) -> None:
    scan, voxel = marked(inputs)
    index = voxel[{"axial": 2, "coronal": 1, "sagittal": 0}[plane]]
    choice = Choice(scan.name, plane, index, preparation=BY_HAND)
    one = inputs.prepare(choice, deep(), scan)
    assert one.image.shape == (1, 1, 24, 28, 16)
    seen = one.seen(one.image[0, 0])
    # the same anatomy by the other way: a slice of the volume, at the grid's spacing
    spacing = {"axial": (2.5, 2.0), "coronal": (3.0, 2.0), "sagittal": (3.0, 2.5)}[plane]
    cut = Network.from_module(flat().module, (1, *seen.shape), spacing=spacing)
    slice_ = inputs.prepare(choice, cut, scan).image[0, 0]
    place = np.unravel_index(seen.argmax(), seen.shape)
    other = np.unravel_index(slice_.argmax(), slice_.shape)
    assert np.abs(np.subtract(place, other)).max() <= 1, (place, other)


def test_planes_of_a_volume_are_of_one_key_and_one_preparation(inputs: Inputs) -> None:
    scan, _ = marked(inputs)
    network = deep()
    ones = [inputs.prepare(Choice(scan.name, "axial", index), network, scan) for index in (8, 12, 16)]
    assert len({one.key for one in ones}) == 1
    assert all(one.image is ones[0].image for one in ones)
    assert len({one.picture for one in ones}) == 3
    prepared = inputs.prepare(Choice(scan.name, preparation=Preparation("percentiles")), network, scan)
    assert prepared.key != ones[0].key
    assert prepared.notes[0].startswith("Values from")


def test_few_prepared_volumes_are_kept(inputs: Inputs) -> None:
    scan, _ = marked(inputs)
    network = deep()
    first = Choice(scan.name, "axial", 8)
    image = inputs.prepare(first, network, scan).image
    for low in (2.0, 3.0, 4.0):
        inputs.prepare(replace(first, preparation=Preparation("percentiles", low, 99)), network, scan)
    assert len(inputs._prepared) == 2
    again = inputs.prepare(first, network, scan).image
    assert again is not image
    np.testing.assert_array_equal(again, image)


def test_a_plane_that_a_network_does_not_reach_is_told(inputs: Inputs) -> None:
    scan, _ = marked(inputs)
    near = inputs.prepare(Choice(scan.name, "axial", 12), deep(), scan)
    far = inputs.prepare(Choice(scan.name, "axial", 0), deep(), scan)
    assert far.at == 0
    assert "does not see so far" in far.notes[0]
    assert "does not see" not in " ".join(near.notes)


def test_a_coarse_map_is_seen_in_the_plane_in_which_it_lies(inputs: Inputs) -> None:
    scan, _ = marked(inputs)
    one = inputs.prepare(Choice(scan.name, "axial", 5), deep(), scan)
    coarse = np.zeros((6, 7, 4), np.float32)
    for k in range(4):
        coarse[:, :, k] = k
    for at in range(16):
        assert (replace(one, at=at).seen(coarse) == at // 4).all()
    right_front = np.zeros((6, 7, 4), np.float32)
    right_front[5, 6] = 1  # the patient's right and front
    assert one.seen(right_front)[0, -1] == 1  # is up and to the right of the picture
    assert one.seen(right_front).sum() == 1


def test_maps_come_back_on_the_volumes_grid(inputs: Inputs) -> None:
    scan, voxel = marked(inputs)
    for network in (flat(), deep()):
        choice = Choice(scan.name, "axial", voxel[2], preparation=BY_HAND)
        one = inputs.prepare(choice, network, scan)
        back = one.back(one.image[0, 0])
        assert back.shape == scan.volume.data.shape
        assert np.abs(np.subtract(np.unravel_index(back.argmax(), back.shape), voxel)).max() <= 1


def test_a_lesion_is_known_to_slices_and_volumes(inputs: Inputs) -> None:
    sample = next(name for name in scans.volume_samples() if "tumour" in name)
    scan = inputs.scan(Choice(sample))
    best = Choice(sample, "coronal")
    wide = Network.from_module(flat().module, (1, 100, 90), spacing=(2.0, 2.0))
    large = Network.from_module(deep().module, (1, 32, 40, 32), spacing=(5.0, 5.0, 5.0))
    flat_one, deep_one = inputs.prepare(best, wide, scan), inputs.prepare(best, large, scan)
    assert flat_one.mask.shape == (100, 90)
    assert deep_one.mask.shape == (32, 40, 32)
    assert flat_one.outline.any()
    assert deep_one.outline.any()
    np.testing.assert_array_equal(deep_one.outline, deep_one.seen(deep_one.mask))
    assert flat_one.label == deep_one.label == scan.label != ""
    nowhere = inputs.prepare(replace(best, index=0), wide, scan)
    assert (nowhere.mask, nowhere.label) == (None, "")
    assert place_of(best, scan) == int(scan.mask.sum((0, 2)).argmax())


def test_a_picture_is_no_volume_and_says_so(inputs: Inputs) -> None:
    png = io.BytesIO()
    Image.new("L", (30, 20), 90).save(png, "PNG")
    name = inputs.add("mine.png", io.BytesIO(png.getvalue()))
    assert inputs.scan(Choice(name)) is None
    one = inputs.prepare(Choice(name), flat(), None)
    assert one.image.shape == (1, 1, 40, 36)
    assert one.seen(one.image[0, 0]) is not None
    with pytest.raises(ImageError, match="which a picture cannot be: choose a volume"):
        inputs.prepare(Choice(name), deep(), None)


@pytest.mark.parametrize(
    ("head", "name", "picture"),
    [
        (b"\x89PNG\r\n", "a.nii", True),
        (b"\xff\xd8\xff\xe0", "", True),
        (b"GIF89a", "a.gif", True),
        (b"<html>", "a.html", True),
        (b"\x1f\x8b\x08\x00", "a.png", False),
        (b"PK\x03\x04", "a.zip", False),
        (b"\x5c\x01\0\0" + bytes(900), "a.nii", False),
        (b"# === DATA DESCRIPTION FILE", "a.par", False),
        (b"just words", "a.nii", False),
        (b"just words", "a.png", True),
        (bytes(900), "A.PNG", True),
        (bytes(900), "nothing", False),
    ],
)
def test_what_is_a_picture_is_told_by_content_first(head: bytes, name: str, picture: bool) -> None:
    assert looks_like_picture(head, name) is picture


def test_uploads_may_be_used_from_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    one, problems, reading = Scans(), [], []
    one.add("film.nii", "film.nii", file(data(times=3)))

    def slowly(path: Path, name: str, time_point: int):
        reading.append(time_point)
        assert len(reading) == 1  # one at a time
        time.sleep(0.002)
        reading.pop()
        return read_volume(path, name, time_point)

    monkeypatch.setattr(scans, "read_volume", slowly)

    def look(at: int) -> None:
        try:
            for _ in range(10):
                assert one.get("film.nii", at).volume.data.max() == 200 + 10 * at
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=look, args=(at,)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
    assert not problems


class _Big:
    """A question whose answer weighs 150 MB without holding that much."""

    quick = True
    title = "big"

    def __init__(self, key: int) -> None:
        self.key = (key,)

    def steps(self):
        answer = type("Map", (), {"step": 1, "steps": 1, "done": True})()
        answer.values = np.broadcast_to(np.float32(0), (150_000_000 // 4,))
        yield answer


def test_remembered_answers_are_limited_in_bytes() -> None:
    runner = Runner()
    answers = Answers(runner)
    try:
        for key in range(4):
            job = answers.ask(_Big(key)).job
            job.wait(10)
        assert answers.ask(_Big(3)).job is None
        assert answers.ask(_Big(2)).job is not None  # two would be more than 256 MB
    finally:
        runner.shutdown(5)


def test_an_answer_without_colours_is_remembered_without_trouble(caplog: pytest.LogCaptureFixture) -> None:
    values = np.ones((1, 4, 4), np.float32)
    question = _Big(1)
    question.steps = lambda: iter([Attribution("plain", values, values, False, np.ones(1, np.float32))])
    runner = Runner()
    answers = Answers(runner)
    try:
        answers.ask(question).job.wait(10)
        assert answers.ask(question).job is None
        assert answers._size() == 2 * values.nbytes
    finally:
        runner.shutdown(5)
    assert not caplog.records


def test_an_input_of_a_picture_is_shown_whole() -> None:
    one = Input(Choice("a"), "", "", np.zeros((1, 1, 3, 4), np.float32), b"")
    values = torch.arange(12).reshape(3, 4).numpy()
    assert one.seen(values) is values
    assert one.outline is None
