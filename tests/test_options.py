"""The server's command line: what may be said, and that what may not be ends the start with a sentence."""

from pathlib import Path

import pytest

from dashboard.options import Options, parse


def test_everything_that_can_be_said() -> None:
    words = [
        "--network",
        "a.toml",
        "--network",
        "brain2d",
        "--weights",
        "w.pt",
        "--store",
        "s.sqlite",
        "--device",
        "cpu",
    ]
    assert parse(words) == Options(("a.toml", "brain2d"), Path("w.pt"), Path("s.sqlite"), "cpu")
    assert parse([]) == Options()


@pytest.mark.parametrize("words", [["--weights", "w.pt"], ["--netwrok", "brain2d"], ["brain2d"]])
def test_what_cannot_be_meant_ends_the_start(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(words)
    assert "error:" in capsys.readouterr().err


def test_the_largest_upload_can_be_said_within_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--upload-limit", "900"]).upload_limit == 900
    for words in ("0", "3000", "many"):
        with pytest.raises(SystemExit):
            parse(["--upload-limit", words])
        assert words in capsys.readouterr().err
