"""The command that measures all methods, its files, its door, and the table's rows."""

import csv
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import models
from models import evaluate
from models.brain.held_out import lesions
from vislib import __main__ as door
from vislib.attribution import METHODS, attribute
from vislib.evaluation import BASELINES, mass_accuracy
from vislib.evaluation.asked import Asked
from vislib.evaluation.table import COLUMNS, Effort, Row, Table, as_csv, as_markdown, measure

ROOT = Path(__file__).resolve().parents[1]
QUICK = [name for name, method in METHODS.items() if method.quick][:3]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The command on six images, as a person would start it."""
    folder = tmp_path_factory.mktemp("evaluation") / "new"
    words = ["evaluate", "--images", "6", "--methods", ", ".join(QUICK), "--out", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "vislib", *words], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_command_writes_both_files_and_shows_progress(written):
    folder, done = written
    assert {path.name for path in folder.iterdir()} == {"table.csv", "table.md"}
    assert str(folder / "table.md") in done.stdout
    assert re.search(r"\d+%  .* min left  .*ROAD", done.stderr)
    for name in [*QUICK, *BASELINES]:
        assert name in done.stdout


def test_the_csv_holds_every_measure_of_every_method_with_its_interval(written):
    lines = list(csv.DictReader((written[0] / "table.csv").read_text().splitlines()))
    for name in QUICK:
        assert [line["measure"] for line in lines if line["map"] == name] == [
            column.name for column in COLUMNS
        ]
    unmeasured = {"random weights", "sanity SSIM", "sanity rank"}
    for name in BASELINES:
        found = {line["measure"] for line in lines if line["map"] == name}
        assert found == {column.name for column in COLUMNS} - unmeasured
    for line in lines:
        assert float(line["low"]) <= float(line["mean"]) <= float(line["high"])
        removal = line["measure"] in ("deletion", "insertion", "ROAD")
        assert line["images"] == "6" or (removal and 0 < int(line["images"]) < 6)
    assert len({line["images"] for line in lines if line["measure"] == "ROAD"}) == 1


def test_the_markdown_is_a_table_and_says_how_it_was_made(written):
    text = (written[0] / "table.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(QUICK) + len(BASELINES)
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    for said in (
        "held-out",
        "seed 1",
        "Accuracy on them",
        "bootstrap",
        "brain2d",
        *(c.meaning for c in COLUMNS),
    ):
        assert said in text


def test_a_row_holds_the_metrics_of_its_images_and_layers():
    network, batch = models.load("brain2d"), lesions(4, 3)
    masks = batch.lesions[:, 0].numpy()
    work = measure(
        network,
        batch.images,
        batch.labels.tolist(),
        masks,
        [Asked("Saliency")],
        effort=Effort(images=4, removal=3, steps=2, road=2, sanity=1),
        baselines=("centre",),
    )
    ended = []

    def run():
        ended.append((yield from work))

    shares = [share for share, _ in run()]
    assert shares == sorted(shares)
    row, centre = ended[0].rows
    assert {name: len(values) for name, values in row.values.items()} == {
        "pointing game": 4,
        "mass accuracy": 4,
        "rank accuracy": 4,
        "deletion": 3,
        "insertion": 3,
        "ROAD": 2,
        "random weights": 4,
        "sanity SSIM": 1,
        "sanity rank": 1,
    }
    for number in range(4):
        maps = attribute(
            network, batch.images[number : number + 1], int(batch.labels[number]), "Saliency"
        ).values
        assert row.values["mass accuracy"][number] == pytest.approx(
            mass_accuracy(maps, masks[number : number + 1])[0], rel=1e-3
        )
    assert centre.baseline


def test_winners_lie_above_all_baselines_and_their_own_random_weights():
    def row(name, mass, random=None, baseline=False):
        values = {"mass accuracy": np.full(5, mass)}
        if random is not None:
            values["random weights"] = np.full(5, random)
        return Row(name, "a 1", baseline, values)

    rows = [row("A", 0.5, 0.1), row("B", 0.5, 0.6), row("C", 0.2, 0.1), row("|edge|", 0.3, baseline=True)]
    table = Table(rows, ["Four rows."], 0)
    assert table.winners() == ["A"]
    text = as_markdown(table)
    assert "intervals apart: A." in text
    assert "*\\|edge\\|*" in text
    assert "- Four rows." in text
    assert "A,method,a 1,mass accuracy,0.5000,0.5000,0.5000,5" in as_csv(table)


def test_held_out_slices_all_have_a_lesion():
    batch = lesions(9, 0)
    assert batch.labels.tolist() == [1, 2, 3] * 3
    assert batch.lesions.flatten(1).any(1).all()


def test_by_default_all_methods_are_asked_and_finer_layers_too():
    network = models.load("brain2d")
    asked = evaluate.chosen(network, None)
    assert {one.name for one in asked} == {name for name, m in METHODS.items() if not m.check(network)}
    assert {(one.name, one.layer) for one in asked if one.layer} == {
        f for f in evaluate.FINER if f[0] in METHODS
    }
    assert evaluate.chosen(network, "Saliency, Saliency@conv3") == [
        Asked("Saliency"),
        Asked("Saliency", "conv3"),
    ]
    for name, values in evaluate.AFFORDABLE.items():
        METHODS[name].values(values)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "Divination"], "no method 'Divination'"),
        (["--methods", ","], "No method"),
        (["--methods", "Saliency@conv99"], "no layer 'conv99'"),
        (["--network", "brain9d"], "no network 'brain9d'"),
        (["--images", "0", "--methods", "Saliency"], "1 or more"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(words, said, tmp_path, capsys):
    assert evaluate.main([*words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_network_of_other_classes_is_refused(tmp_path, capsys):
    (tmp_path / "mine.toml").write_text(
        'factory = "models.brain2d:BrainNet2D"\ninput = [1, 64, 64]\nlabels = ["a", "b", "c", "d"]\n'
    )
    words = ["--network", str(tmp_path / "mine.toml"), "--methods", "Saliency", "--out", str(tmp_path)]
    assert evaluate.main(words) == 2
    assert "tells apart a, b, c, d" in capsys.readouterr().err


def test_the_door_names_its_commands_and_what_is_missing(monkeypatch, capsys):
    assert door.main(["--help"]) == 0
    assert "evaluate" in capsys.readouterr().out
    assert door.main([]) == 2
    assert door.main(["juggle"]) == 2
    assert "no command 'juggle'" in capsys.readouterr().err

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="models")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert door.main(["evaluate"]) == 2
    assert "needs the package 'models'" in capsys.readouterr().err


def test_stopping_the_command_is_no_traceback(monkeypatch, capsys):
    def stopped(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "main", stopped)
    assert door.main(["evaluate"]) == 130
    assert "nothing was written" in capsys.readouterr().err
