"""Import of labels from CSV files, and disagreements with the decisions."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner

from pneumonia.cli.main import main
from pneumonia.core.errors import MonitoringError
from pneumonia.monitoring.delayed_labels import ImportResult, disagreements, import_labels
from pneumonia.monitoring.log import Log, Window
from tests.support import logs

IDS = [UUID(int=number) for number in range(5)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def log(url: str) -> Iterator[Log]:
    opened = Log(url)
    opened.add(
        [logs.prediction(number, probability) for number, probability in enumerate([0.9, 0.2, 0.97, 0.4, 0.55])]
    )
    yield opened
    opened.close()


def table(folder: Path, *lines: str, name: str = "labels.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def stored(log: Log) -> dict[str, str]:
    labelled = log.labelled(Window(), ["id"])
    return dict(zip(labelled["id"], labelled["label"], strict=True))


def test_import_adds_labels_to_predictions_and_is_idempotent(log: Log, tmp_path: Path) -> None:
    file = table(
        tmp_path,
        "id,file,label,source,time,blinded",
        f"{IDS[0]},a.png,NORMAL,reader-2,2026-03-01T10:00:00+02:00,yes",
        f"{IDS[1]},b.png,PNEUMONIA,,,",
    )
    assert import_labels(log, file) == ImportResult(added=2, existing=0)
    assert import_labels(log, file) == ImportResult(added=0, existing=2)
    assert stored(log) == {str(IDS[0]): "NORMAL", str(IDS[1]): "PNEUMONIA"}
    first = log.labelled(Window(), ["id"]).iloc[0]
    assert (first["label_source"], bool(first["blinded"])) == ("reader-2", True)
    assert first["label_time"] == datetime(2026, 3, 1, 8, tzinfo=UTC)


def test_later_label_of_the_same_source_replaces_the_earlier_one(log: Log, tmp_path: Path) -> None:
    import_labels(log, table(tmp_path, "id,label,time", f"{IDS[0]},NORMAL,2026-03-01"))
    import_labels(log, table(tmp_path, "id,label,time", f"{IDS[0]},PNEUMONIA,2026-03-05"))
    assert stored(log) == {str(IDS[0]): "PNEUMONIA"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id;label", f"{IDS[0]};NORMAL"], "no column id and label"),
        (["id,label,label", f"{IDS[0]},NORMAL,NORMAL"], "the column label twice"),
        (["id,label"], "a header but no rows"),
        (["id,label", "seven,NORMAL"], "line 2: id 'seven' is not the UUID"),
        (["id,label", f"{IDS[0]},normal"], "line 2: label 'normal' is not one of NORMAL"),
        (["id,label,time", f"{IDS[0]},NORMAL,1 March"], "line 2: time '1 March' is not ISO 8601"),
        (["id,label,blinded", f"{IDS[0]},NORMAL,maybe"], "line 2: blinded 'maybe' is not yes or no"),
        (["id,label", f"{UUID(int=99)},NORMAL"], f"line 2: the log has no prediction {UUID(int=99)}"),
        (["id,label", f"{IDS[0]},NORMAL", f"{IDS[0]},NORMAL"], "line 3: repeats line 2"),
        (["id,label", f"{IDS[0]},NORMAL", f"{IDS[0]},PNEUMONIA"], "line 3: has PNEUMONIA, line 2 has NORMAL"),
        (["id,label", '"quoted', "without end"], "is not a CSV file"),
    ],
)
def test_any_error_is_reported_with_its_line_and_nothing_is_imported(
    log: Log, tmp_path: Path, lines: list[str], message: str
) -> None:
    valid = [f"{IDS[3]},NORMAL" + "," * (lines[0].count(",") - 1)] if len(lines) > 1 and "," in lines[0] else []
    with pytest.raises(MonitoringError, match=message.replace("(", r"\(")):
        import_labels(log, table(tmp_path, *lines, *valid))
    assert stored(log) == {}


def test_label_that_contradicts_the_log_needs_a_time(log: Log, tmp_path: Path) -> None:
    import_labels(log, table(tmp_path, "id,label", f"{IDS[0]},NORMAL"))
    with pytest.raises(MonitoringError, match="line 2: has PNEUMONIA, the log has NORMAL from csv"):
        import_labels(log, table(tmp_path, "id,label", f"{IDS[0]},PNEUMONIA"))
    assert stored(log) == {str(IDS[0]): "NORMAL"}


def test_file_that_is_not_utf8_is_refused(log: Log, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(f"id,label,source\n{IDS[0]},NORMAL,Köln\n".encode("latin-1"))
    with pytest.raises(MonitoringError, match="not in UTF-8"):
        import_labels(log, file)


def test_file_with_byte_order_mark_and_crlf_is_imported(log: Log, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(f"\ufeffid,label\r\n{IDS[0]},NORMAL\r\n".encode())
    assert import_labels(log, file).added == 1


def test_25000_labels_are_imported_at_once(log: Log, tmp_path: Path) -> None:
    log.add([logs.prediction(number, 0.9) for number in range(100, 25_100)])
    lines = [f"{UUID(int=number)},PNEUMONIA" for number in range(100, 25_100)]
    assert import_labels(log, table(tmp_path, "id,label", *lines)).added == 25_000


def test_disagreements_are_sorted_by_confidence(log: Log, tmp_path: Path) -> None:
    labels = ["NORMAL", "PNEUMONIA", "NORMAL", "NORMAL", "UNSURE"]
    import_labels(log, table(tmp_path, "id,label", *map("{},{}".format, IDS, labels)))
    table_ = disagreements(log, Window())
    assert list(table_["id"]) == [str(IDS[2]), str(IDS[0]), str(IDS[1])]
    assert list(table_["confidence"].round(2)) == [0.97, 0.9, 0.8]


def test_commands_import_and_list_disagreements(log: Log, url: str, tmp_path: Path) -> None:
    file = table(tmp_path, "id,label", f"{IDS[0]},NORMAL")
    run = CliRunner().invoke
    assert run(main, ["feedback", "import", str(file), "--log", url]).output.startswith("added 1 label(s)")
    listed = run(main, ["feedback", "disagreements", "--log", url]).output.splitlines()
    assert listed[0].startswith("id,time,decision,label,confidence")
    assert listed[1].startswith(str(IDS[0]))
    refused = run(main, ["feedback", "import", str(table(tmp_path, "id,label", "x,NORMAL")), "--log", url])
    assert refused.exit_code == 1
    assert refused.output.startswith("Error: ")
    assert "Traceback" not in refused.output
