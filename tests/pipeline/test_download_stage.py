import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.params import load
from pipeline.stages import download
from pneumonia.core.errors import SourceError

ROOT = Path(__file__).parents[2]
SOURCES = os.pathsep.join([str(ROOT), str(ROOT / "src")])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "data", tmp_path / "data")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("source: kermany ", "source: own "), encoding="utf-8")
    for label in ("NORMAL", "PNEUMONIA"):
        for split in ("train", "test"):
            folder = tmp_path / "own" / split / label
            folder.mkdir(parents=True)
            for n in range(3):
                (folder / f"{n}.jpeg").write_bytes(f"{split} {label} {n}".encode())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PNEUMONIA_MIRROR", raising=False)
    return tmp_path


def run(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.stages.download"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": SOURCES} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stage_writes_the_dataset_and_its_report(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    download.main(load(Path("params.yaml")))
    assert len(list((project / "artifacts" / "raw").rglob("*.jpeg"))) == 12
    text = (project / "reports" / "download.json").read_text(encoding="utf-8")
    report = json.loads(text)
    assert (report["source"], report["release"], report["files"]) == ("folder", "own", 12)
    assert text == json.dumps(report, indent=2, sort_keys=True) + "\n"
    assert str(project) not in text
    assert capsys.readouterr().out == "folder own: 12 images (train 6, test 6), from own\n"


def test_report_is_the_same_on_every_run(project: Path) -> None:
    texts = []
    for _ in range(2):
        download.main(load(Path("params.yaml")))
        texts.append((project / "reports" / "download.json").read_bytes())
    assert texts[0] == texts[1]


def test_mirror_is_read_from_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "empty").mkdir()
    monkeypatch.setenv("PNEUMONIA_MIRROR", "empty")
    params = load(ROOT / "params.yaml")
    with pytest.raises(SourceError, match=r"mirror empty has none of ChestXRay2017\.zip, kermany-224\.zip"):
        download.main(params)


def test_an_expected_error_is_printed_without_a_traceback(project: Path) -> None:
    shutil.rmtree(project / "own" / "test" / "NORMAL")
    result = run(project)
    assert result.returncode == 1
    assert result.stderr.startswith("error: own/test has no NORMAL folder.")
    assert "Traceback" not in result.stderr
    assert not (project / "artifacts" / "raw").exists()
    assert not (project / "reports").exists()


@pytest.mark.real
def test_an_interrupted_stage_leaves_no_partial_dataset_and_can_be_repeated(mirror: Path, project: Path) -> None:
    shutil.copy(ROOT / "params.yaml", project)
    raw, partial = project / "artifacts" / "raw", project / "artifacts" / ".raw.partial"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.stages.download"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": SOURCES, "PNEUMONIA_MIRROR": str(mirror)},
    )
    while not any(partial.rglob("*.jpeg")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial.exists()
    assert not raw.exists()

    result = run(project, PNEUMONIA_MIRROR=str(mirror))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("kermany resized-224: 5,840 images (train 5,216, test 624), from ")
    assert len(list(raw.rglob("*.jpeg"))) == 5840
    assert not partial.exists()
