"""Runs across browsers, panels and servers: shared, kept, found again, opened, renamed, deleted, resumed."""

import re
from pathlib import Path

import pytest
from dashboards import Visit, card, serve, visit
from playwright.sync_api import Browser

from vislib.store import RunStore

pytestmark = pytest.mark.browser


def words(folder: Path) -> tuple[str, ...]:
    """Command line of a server with the small network and a store in `folder`."""
    small = card(folder, "small", "working", 'opening = "2"')
    return "--network", str(small), "--store", str(folder / "runs.sqlite")


def start_long(page: Visit, steps: int = 60_000) -> None:
    page.set("parameter-steps", "value", steps)
    page.until("m('settings-hint').text")
    page.press("start")
    page.state(f"/ {steps}")
    page.until("m('feature-source').get_array('step')[0] > 3")


def test_two_browsers_share_a_job_and_nobody_is_needed_for_it_to_end(
    browser: Browser, tmp_path: Path
) -> None:
    with serve(tmp_path, *words(tmp_path)) as server:
        with visit(browser, server.url()) as second:
            with visit(browser, server.url()) as first:
                first.live()
                second.live()
                first.set("preset-select", "value", "L2")
                second.set("preset-select", "value", "L2")
                start_long(first)
                start_long(second)
                assert "1 run climbing" in first.text("jobs")
                step = first.column("feature-source", "step")[0]
                second.until("m('feature-source').get_array('step')[0] > arg", step)
                first.press("pause")
                second.state("paused at step")
                second.press("start")
                first.state("steps/s")
            step = second.column("feature-source", "step")[0]
            second.until("m('feature-source').get_array('step')[0] > arg + 10", step)
            second.press("stop")
            second.state("stopped at step")
            # a short one that the browser does not wait for
            second.set("parameter-steps", "value", 700)
            second.press("start")
            second.state("/ 700")
        store = RunStore(tmp_path / "runs.sqlite")
        try:
            deadline = 200
            while not any(run.steps == 700 and run.state == "done" for run in store.list()):
                deadline -= 1
                assert deadline, [(run.steps, run.state) for run in store.list()]
                with visit(browser, server.url("?tab=Runs")) as later:
                    later.page.wait_for_timeout(200)
        finally:
            store.close()


def test_runs_come_back_after_a_restart_and_can_be_resumed(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, *words(tmp_path)) as server, visit(browser, server.url()) as page:
        page.state("done, 64 steps")
        scores = page.column("feature-source", "score")
        start_long(page)
        page.page.wait_for_timeout(3000)
    with serve(tmp_path, *words(tmp_path)) as server, visit(browser, server.url()) as page:
        page.state("done, 64 steps")
        page.live()
        assert "idle" in page.text("jobs")
        assert page.column("feature-source", "score") == pytest.approx(scores)
        page.tab("Runs")
        page.until("m('runs-source').get_array('state').length == 2")
        assert sorted(page.column("runs-source", "state")) == ["done", "interrupted"]
        row = page.column("runs-source", "state").index("interrupted")
        step = int(page.column("runs-source", "progress")[row].split(" / ")[0])
        assert step > 0
        page.page.evaluate(
            "(row) => { Bokeh.documents[0].get_model_by_name('runs-source').selected.indices = [row] }", row
        )
        page.press("run-resume")
        page.on_tab("Features")
        page.until("m('feature-source').get_array('step')[0] > arg", step)
        assert page.get("parameter-steps", "value") == 60_000
        page.press("stop")
        page.state("stopped at step")


def test_a_run_is_opened_renamed_and_deleted_only_when_confirmed(browser: Browser, tmp_path: Path) -> None:
    with (
        serve(tmp_path, *words(tmp_path)) as server,
        visit(browser, server.url("?preset=none&layer=5")) as page,
    ):
        page.state("done")
        page.tab("Runs")
        page.until("m('runs-source').get_array('id').length == 1")
        source = {
            name: page.column("runs-source", name)[0]
            for name in ("network", "layer", "preset", "units", "size")
        }
        assert source["network"] == "small"
        assert (source["layer"], source["preset"], source["units"]) == ("5", "none", "0 - 15")
        assert re.fullmatch(r"[\d.]+ (MB|kB)", source["size"])
        assert page.column("runs-source", "thumbnail")[0].startswith("data:image/")
        assert page.get("run-open", "disabled")
        page.element("runs-table", ".slick-cell.l1").click()
        page.until("!m('run-open').disabled")
        page.page.get_by_placeholder("a new title").fill("<b>rings & dots</b>")
        page.page.keyboard.press("Tab")
        page.press("run-rename")
        page.until("m('runs-source').get_array('title')[0] == '<b>rings & dots</b>'")
        page.page.get_by_text("<b>rings & dots</b>", exact=True).wait_for()
        page.press("run-open")
        page.on_tab("Features")
        page.until("m('page-place').text == 'a stored run'")
        page.live()
        page.tab("Runs")
        page.press("run-delete")
        page.until("m('run-delete-question').text.includes('rings')")
        page.press("run-delete-keep")
        page.page.wait_for_timeout(300)
        assert len(page.column("runs-source", "id")) == 1
        assert re.fullmatch(r"1 stored run, [\d.]+ [kM]B in all", page.text("runs-said"))
        page.press("run-delete")
        page.press("run-delete-confirm")
        page.until(
            "m('runs-source').get_array('id').length == 0 && m('runs-said').text.includes('No run is kept')"
        )


def test_a_run_of_other_weights_is_kept_but_not_opened_with_these(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, *words(tmp_path)) as server, visit(browser, server.url()) as page:
        page.state("done")
    card(tmp_path, "small", "working", 'opening = "2"\nlabels = ["a", "b", "c"]')
    (tmp_path / "small.toml").write_text(
        (tmp_path / "small.toml").read_text().replace("std = [0.25]", "std = [0.5]")
    )
    with (
        serve(
            tmp_path, "--network", str(tmp_path / "small.toml"), "--store", str(tmp_path / "runs.sqlite")
        ) as server,
        visit(browser, server.url()) as page,
    ):
        page.state("done")
        page.tab("Runs")
        page.until("m('runs-source').get_array('id').length == 2")
        page.page.evaluate("Bokeh.documents[0].get_model_by_name('runs-source').selected.indices = [1]")
        page.press("run-open")
        page.until("m('notice').text.includes('other weights')")
