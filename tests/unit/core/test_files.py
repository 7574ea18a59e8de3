from pathlib import Path

import pytest

from pneumonia.core import files
from pneumonia.core.errors import EvidenceError
from pneumonia.core.model import FrozenModel


class Report(FrozenModel):
    success: bool
    files: tuple[str, ...] = ()


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "reports/report.json"
    files.write_json(path, Report(success=True, files=("ä.png",)))

    assert files.read_json(path, Report) == Report(success=True, files=("ä.png",))
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert path.stat().st_mode & 0o777 == 0o644


def test_keys_can_be_sorted(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": 1, "a": 2}, sort_keys=True)

    assert (tmp_path / "a.json").read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'


def test_a_failed_write_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "before")

    def fail(self: Path, target: Path) -> None:
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError):
        files.write_text(path, "after")

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"report\.json is missing"),
        ("{", r"report\.json is not a Report"),
        ('{"success": true, "other": 1}', r"1 faults; first: \('other',\)"),
    ],
)
def test_a_missing_or_foreign_report_is_explained(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(EvidenceError, match=message):
        files.read_json(path, Report)
