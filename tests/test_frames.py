"""Histories: what is kept, against a slow re-implementation that sees all frames at once."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import climb, frame

from vislib import display
from vislib.frames import Best, Frame, History, Kept
from vislib.series import Series


def picture_of(image: np.ndarray) -> bytes:
    return display.encode(display.stretch(image[None])[0])


def expected_steps(steps: list[int], room: int, stride: int) -> list[int]:
    """Double the stride until what lies on it fits."""
    while len(kept := [step for step in steps if (step - steps[0]) % stride == 0]) > room:
        stride *= 2
    return kept


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 150),
    first=st.sampled_from([0, 1, 7]),
    pace=st.sampled_from([1, 3]),
    capacity=st.integers(4, 20),
    planned=st.sampled_from([None, 0, 60, 450]),
)
def test_keeps_evenly_spaced_frames(count, first, pace, capacity, planned):
    history = History(capacity, planned)
    steps = list(range(first, first + count * pace, pace))
    for step in steps:
        history.append(frame(step, [0.0], size=2))
        stride = 1 if planned is None else planned // (capacity - 2) + 1
        expected = expected_steps([one for one in steps if one <= step], capacity - 2, stride)
        assert [kept.step for kept in history.since(0)[0]] == expected
        assert history.steps() == sorted({*expected, step})
        assert len(history.film(0)) <= capacity


def test_planned_steps_are_kept_without_thinning():
    history = History(planned=500)
    kept = []
    for step in range(501):
        history.append(frame(step, [0.0], size=2))
        kept.append(len(history.since(0)[0]))
    assert kept == sorted(kept)
    assert 64 <= kept[-1] <= 126


def test_film_has_first_best_and_last_with_their_pictures():
    history = History(8)
    scores = np.random.default_rng(0).random((61, 2)).astype(np.float32)
    scores[37, 0], scores[59, 1] = 2, 2
    frames = []
    for step, score in enumerate(scores.tolist()):
        images = np.random.default_rng(step).random((2, 1, 6, 6), np.float32)
        frames.append(Frame(step, images, np.array(score, np.float32), {}))
        history.append(frames[-1])
    for row, best in ((0, 37), (1, 59)):
        film = history.film(row)
        steps = [step for step, _, _ in film]
        assert steps == sorted(set(steps))
        assert {0, best, 60} <= set(steps)
        assert len(steps) <= 8
        for step, score, picture in film:
            assert score == scores[step, row]
            assert picture == picture_of(frames[step].images[row])
    assert history.best_steps == (37, 59)
    np.testing.assert_array_equal(history.best_scores, [2, 2])
    np.testing.assert_array_equal(history.best_images, np.stack([frames[37].images[0], frames[59].images[1]]))
    assert history.latest is frames[-1]


def test_best_ignores_nan_and_ties_keep_the_earlier():
    history = History()
    for step, scores in enumerate([[np.nan, 1, np.nan], [3, np.nan, np.nan], [3, 2, np.nan]]):
        history.append(frame(step, scores))
    assert history.best_steps == (1, 2, 0)
    np.testing.assert_array_equal(history.best_scores, [3, 2, np.nan])


def test_at_gives_the_nearest_frame_at_or_before():
    history = History(6)
    with pytest.raises(LookupError):
        history.at(3)
    for step in range(5, 31):
        history.append(frame(step, [float(step)]))
    assert history.steps() == [5, 13, 21, 29, 30]
    asked = {0: 5, 5: 5, 12: 5, 13: 13, 28: 21, 29: 29, 30: 30, 99: 30}
    for step, found in asked.items():
        kept = history.at(step)
        assert kept.step == found
        assert kept.scores.tolist() == [found]
        assert kept.pictures == (picture_of(frame(found, [0.0]).images[0]),)


def test_since_gives_each_kept_frame_once():
    history = History(64)
    cursor, seen = 0, []
    for step in range(40):
        history.append(frame(step, [0.0]))
        if step % 7 == 0:
            news, cursor = history.since(cursor)
            seen += [kept.step for kept in news]
    news, cursor = history.since(cursor)
    assert seen + [kept.step for kept in news] == list(range(40))
    assert history.since(cursor) == ([], cursor)
    assert cursor == history.version


def test_the_same_step_again_replaces_it_and_what_followed():
    again = History(16, planned=60)
    straight = History(16, planned=60)
    frames = list(climb(steps=60))
    for one in frames:
        straight.append(one)
    for one in frames[:45]:
        again.append(one)
    _, cursor = again.since(0)
    for one in frames[30:]:
        again.append(one)
        assert again.steps()[-1] == one.step
        assert again.series("score")[0].tolist() == list(range(one.step + 1))
    assert [kept.step for kept in again.since(cursor)[0]] == [
        kept.step for kept in straight.since(0)[0] if kept.step >= 30
    ]
    assert_same(again, straight)


def assert_same(one: History, other: History) -> None:
    assert one.steps() == other.steps()
    assert one.stride == other.stride
    assert one.best_steps == other.best_steps
    np.testing.assert_array_equal(one.best_images, other.best_images)
    np.testing.assert_array_equal(one.latest.images, other.latest.images)
    for row in range(len(one.best_steps)):
        assert one.film(row) == other.film(row)
    for name in {*one.names(), *other.names()}:
        for mine, yours in zip(one.series(name), other.series(name), strict=True):
            np.testing.assert_array_equal(mine, yours)
            assert mine.dtype == yours.dtype


def test_loading_gives_back_the_same_history():
    history = History(16)
    for one in climb(steps=50):
        history.append(one)
    steps, numbers = history.table()
    loaded = History(16)
    loaded.load(
        history.since(0)[0],
        stride=history.stride,
        best=history.best(),
        latest=history.latest,
        steps=steps,
        numbers=numbers,
    )
    assert_same(loaded, history)
    for more in list(climb(steps=80))[51:]:
        loaded.append(more)
        history.append(more)
        assert_same(loaded, history)


def test_loading_more_tells_cursors_only_the_news():
    kept = [Kept(step, np.zeros(1, np.float32), (b"x",)) for step in range(5)]
    history = History()
    history.load(kept[:3])
    _, cursor = history.since(0)
    history.load(kept)
    assert [one.step for one in history.since(cursor)[0]] == [3, 4]
    best = Best(np.zeros((1, 1, 2, 2), np.float32), np.ones(1, np.float32), (3,))
    history.load(kept, best=best)
    assert history.best_steps == (3,)


def test_finish_lets_go_of_the_checkpoint_only():
    history = History()
    history.append(next(climb()))
    before = history.latest
    assert before.snapshot is not None
    history.finish()
    assert history.latest.snapshot is None
    assert history.latest.images is before.images


def test_an_empty_history_has_nothing():
    history = History()
    history.finish()
    assert (history.latest, history.best(), history.best_images) == (None, None, None)
    assert (history.steps(), history.film(0), history.since(0)) == ([], [], ([], 0))
    assert history.series("score")[0].size == 0
    with pytest.raises(ValueError, match="at least 4"):
        History(3)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 120), limit=st.integers(4, 16), first=st.sampled_from([0, 3]))
def test_series_against_all_rows(count, limit, first):
    series = Series(limit)
    for step in range(first, first + count):
        series.append(step, {"a": np.array([step, -step], np.float32)})
        past = list(range(first, step + 1))
        stride = 1
        while len(kept := sorted({*past[::stride], step})) > limit:
            stride *= 2
        steps, values = series.get("a")
        assert steps.tolist() == kept
        assert len(series) == len(kept) <= limit
        np.testing.assert_array_equal(values, np.stack([steps, -steps], axis=1))


def test_series_fills_what_was_not_given():
    series = Series()
    series.append(0, {"a": np.array([1.0])})
    series.append(1, {"a": np.array([2.0]), "b": np.array([4]), "c": np.array([True])})
    series.append(2, {"b": np.array([5])})
    np.testing.assert_array_equal(series.get("a")[1], [[1], [2], [np.nan]])
    np.testing.assert_array_equal(series.get("b")[1], [[-1], [4], [5]])
    np.testing.assert_array_equal(series.get("c")[1], [[False], [True], [False]])
    assert series.get("d")[1].size == 0


def test_per_step_numbers_stay_bounded():
    history = History(4)
    for step in range(8500):
        history.append(frame(step, [float(step)], size=1))
    steps, values = history.series("norm")
    assert len(steps) <= 8192
    assert steps[-1] == 8499
    np.testing.assert_array_equal(values[:, 0], steps)


def test_readers_see_a_consistent_history_while_it_grows():
    history = History(10)
    wrong: list[str] = []
    ended = threading.Event()

    def read() -> None:
        cursor = 0
        while not ended.is_set():
            _, cursor = history.since(cursor)
            film = history.film(0)
            if [step for step, _, _ in film] != sorted({step for step, _, _ in film}) or len(film) > 10:
                wrong.append(str(film))
            if any(score != step for step, score, _ in film):
                wrong.append("a score of another step")
            steps, values = history.series("norm")
            if not np.array_equal(values[:, 0] if len(steps) else values.ravel(), steps):
                wrong.append("numbers of another step")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(600):
        history.append(frame(step, [float(step)], size=4))
    ended.set()
    for reader in readers:
        reader.join()
    assert wrong == []
