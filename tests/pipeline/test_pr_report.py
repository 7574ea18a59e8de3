"""The pull-request report, in real git repositories with a real DVC pipeline and real commits."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipeline import demo, pr_report
from pipeline.params import load
from pneumonia.core import files, paths
from pneumonia.core.errors import EvidenceError
from pneumonia.evaluation.evaluation_report import EvaluationReport
from tests.support.reports import Reports

GITHUB_LIMIT = 65_536
FIRST = Reports()
DVC_YAML = """
stages:
  evaluate:
    cmd: python evaluate.py
    deps: [data, evaluate.py, artifacts/model.txt]
    params: [train]
    outs:
      - reports/metrics/cnn.json: {cache: false}
"""
DATA_DVC = "outs:\n- path: data\n  cache: false\n"


class Project:
    """A repository that is on the branch of a change, made from main."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=A Tester", "-c", "user.email=tester@example.org", *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def dvc(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=self.folder, env=demo.environment(demo.PROJECT), check=True, capture_output=True)

    def commit(self, message: str = "A change") -> None:
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def results(self, reports: Reports) -> None:
        """Commit the results of another run, with their lock."""
        shutil.rmtree(self.folder / "reports", ignore_errors=True)
        reports.write(self.folder)
        self.dvc("commit", "--force", "--quiet")
        self.commit()

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def report(self, base: str = "main") -> str:
        """Make the report and return it, the rows of its tables with single spaces."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            pr_report.main(load(Path("params.yaml")), base, Path("pr_report"))
        return (self.folder / "pr_report/report.md").read_text()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.git("init", "-q", "-b", "main")
    project.dvc("init", "--quiet")
    shutil.copyfile(demo.PROJECT / ".dvc/config", project.folder / ".dvc/config")
    for name in ("params.yaml", "operations.yaml"):
        shutil.copyfile(demo.PROJECT / name, project.folder / name)
    for name, content in {
        ".gitignore": "/artifacts/\n/pr_report/\n",
        "dvc.yaml": DVC_YAML,
        "data.dvc": DATA_DVC,
        "data/files.csv": "path\n",
        "evaluate.py": "pass\n",
        "artifacts/model.txt": "weights\n",
    }.items():
        (project.folder / name).parent.mkdir(exist_ok=True)
        (project.folder / name).write_text(content)
    project.results(FIRST)
    project.git("switch", "-q", "-c", "change")
    return project


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Project:
    shutil.copytree(template.folder, tmp_path / "project")
    return Project(tmp_path / "project")


def cells(report: str, *start: str) -> list[str]:
    """The cells of the first row that starts with these."""
    (row, *_) = [line for line in report.splitlines() if line.startswith(f"| {' | '.join(start)} |")]
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def short_part(report: str) -> str:
    return report.split("<details>")[0]


def decisions(project: Project, commit: str, model: str) -> pd.DataFrame:
    text = project.git("show", f"{commit}:reports/predictions/{model}.csv")
    table = pd.DataFrame([line.split(",") for line in text.splitlines()[1:]], columns=text.splitlines()[0].split(","))
    return table[table["subset"] == "test"].set_index("path")


def test_without_a_change_everything_is_the_same(project: Project) -> None:
    report = project.report()

    assert "**Predictions, test:** the same for all 160 images." in report
    assert "**Models:** the same." in report
    assert "**Parameters:** the same." in report
    assert "**Data:** the same (kermany, hash `d1d1d1d1d1d1`)" in report
    assert cells(report, "test", "ROC AUC")[4] == "+0.000 (+0.000 to +0.000)"
    assert "WARNING" not in report


def test_better_predictions_show_in_metrics_and_in_what_was_fixed_and_regressed(project: Project) -> None:
    project.results(replace(FIRST, models={"cnn": 3.5, "probe": 1.0}, seed=1))
    before, after = (decisions(project, commit, "cnn") for commit in ("main", "change"))
    was_right, is_right = (table["predicted"] == table["label"] for table in (before, after))
    fixed, regressed = int((~was_right & is_right).sum()), int((was_right & ~is_right).sum())
    assert fixed > 0
    assert regressed > 0

    report = project.report()

    accuracy = cells(report, "test", "accuracy")
    assert accuracy[2].startswith(f"{was_right.mean():.3f} (")
    assert accuracy[3].startswith(f"{is_right.mean():.3f} (")
    assert accuracy[4].startswith(f"**{is_right.mean() - was_right.mean():+.3f} (+"), "the interval excludes 0: bold"
    line = f"{fixed + regressed} of 160 images flipped, {fixed} fixed and {regressed} regressed"
    assert line in short_part(report)
    image = before.index[was_right & ~is_right][0]
    (row, *_) = re.findall(rf"^\| `{image}` \| .*$", report, re.M)
    for table in (before, after):
        assert f"{table['predicted'][image]} {float(table['probability'][image]):.3f}" in row
    assert "`probe`" not in short_part(report)


def test_worse_predictions_are_refused_by_the_gate_with_the_failed_criteria(project: Project) -> None:
    project.results(replace(FIRST, models={"cnn": 0.7, "probe": 0.5}))

    report = project.report()

    assert "**Gate (dry run): refused**" in short_part(report)
    limit = "lower end at least -0.020"
    assert re.search(rf"ROC AUC less the champion's: -0\.\d+ \(.+\); expected: {limit}", short_part(report))
    assert cells(report, "trained on radiographs")[3] == "pass"


def test_changed_slices_are_listed_separately_from_unchanged_ones(project: Project) -> None:
    project.results(replace(FIRST, models={"cnn": 4.5, "probe": 1.0}))

    report = project.report()

    (changed, of) = re.search(r"\*\*Slices:\*\* (\d+) of (\d+) metrics", report).groups()  # type: ignore[union-attr]
    assert 0 < int(changed) <= int(of)
    listed = report.split("**Changed**")[1].split("</details>")[0].split("**Not changed**")[0]
    rows = [line for line in listed.splitlines() if re.match(r"\| (test|aspect_swapped) ", line)]
    assert len(rows) == int(changed)
    assert all("unpaired" in row or "**" in row for row in rows)
    assert any("cause: " in row for row in rows)
    assert "of “virus” (test)" in short_part(report)


def test_another_challenger_is_compared_with_the_one_before(project: Project) -> None:
    project.results(replace(FIRST, challenger="probe"))

    report = project.report()

    assert report.startswith("## Model report: `cnn` → `probe`\n")
    before, after = (
        files.read_json(project.folder / paths.EVALUATION_REPORTS / f"{model}.json", EvaluationReport)
        for model in ("cnn", "probe")
    )
    figures = cells(report, "test", "ROC AUC")
    expected = [f"{one.subsets['test'].figures['roc_auc'].value:.3f}" for one in (before, after)]
    assert [figure[:5] for figure in figures[2:4]] == expected
    assert "<summary>Model cnn</summary>" in report
    assert "<summary>Model probe</summary>" in report


def test_other_images_are_reported_and_the_common_ones_compared(project: Project) -> None:
    project.results(replace(FIRST, images=180, first=40, data_hash="d2" * 32))
    project.edit("data/files.csv", "path\n", "path\nnew.png\n")
    project.dvc("commit", "--force", "--quiet", "data.dvc")
    project.commit()

    report = project.report()

    assert "The test images differ: 160 in the base, 180 in the change." in report
    assert "on the 120 common images" in report
    assert "same data definition as the champion" in short_part(report), "the gate refuses other data"
    assert cells(report, "`data_hash`")[1:] == [f"`{'d1' * 32}`", f"`{'d2' * 32}`"]
    assert cells(report, "`download.files`")[1:] == ["`480`", "`540`"]
    assert cells(report, "`split.images.test.NORMAL`")[1:] == ["`80`", "`90`"]
    assert cells(report, "`definition`")


def test_without_a_common_image_there_is_no_difference(project: Project) -> None:
    project.results(replace(FIRST, first=1000, data_hash="d2" * 32))

    report = project.report()

    assert "**Predictions, test:** no common image." in report
    assert [cells(report, "test", figure)[4] for figure in ("ROC AUC", "accuracy")] == ["–", "–"]
    assert "evaluated on other test images (0 in common)" in report


def test_changed_code_and_params_make_the_lock_stale(project: Project) -> None:
    project.edit("evaluate.py", "pass", "pass  # otherwise")
    project.edit("params.yaml", "learning_rate: 0.002", "learning_rate: 0.003")
    project.edit("operations.yaml", "minimum_sensitivity: 0.90", "minimum_sensitivity: 0.91")
    project.commit()

    report = project.report()

    assert "> **dvc.lock is stale** for `evaluate`" in short_part(report)
    assert set(cells(report, "`evaluate`")[1].split(", ")) == {"`evaluate.py`", "`train`"}
    assert cells(report, "`train.models.cnn.learning_rate`")[1:] == ["`0.002`", "`0.003`"]
    assert cells(report, "`promote.minimum_sensitivity`")[1:] == ["`0.9`", "`0.91`"]


def test_changed_command_or_data_definition_makes_the_lock_stale(project: Project) -> None:
    project.edit("dvc.yaml", "python evaluate.py", "python evaluate.py --fast")
    project.edit("data/files.csv", "path\n", "path\nnew.png\n")
    project.commit()

    report = project.report()

    reasons = cells(report, "`evaluate`")[1]
    assert "`data`" in reasons
    assert cells(report, "`data.dvc`")[1] == "`data`"
    assert "Results differ from dvc.lock" not in report
    assert "`its command in dvc.yaml`" in reasons


def test_missing_artifacts_are_no_stale_lock(project: Project) -> None:
    shutil.rmtree(project.folder / "artifacts")
    assert "WARNING" not in project.report()


def test_results_edited_by_hand_are_reported(project: Project) -> None:
    metrics = project.folder / "reports/metrics/cnn.json"
    metrics.write_text(metrics.read_text() + "\n")
    report = project.report()
    assert "> **Results differ from dvc.lock**: `reports/metrics/cnn.json`." in short_part(report)
    assert "with uncommitted changes" in report


def test_without_reports_in_the_base_the_change_stands_alone(project: Project) -> None:
    project.git("switch", "-q", "--orphan", "young")
    (project.folder / "README.md").write_text("Soon.\n")
    project.commit("A beginning")
    project.git("switch", "-q", "-c", "its-change")
    project.git("checkout", "-q", "main", "--", ".")
    project.commit()

    report = project.report("young")

    assert report.startswith("## Model report: `cnn` (new)")
    assert "The base has no reports: there is nothing to compare with." in report
    assert cells(report, "test", "ROC AUC")[2] == "–"
    assert "**Models:** new `cnn`, `probe`." in report
    assert "there is no champion" in report
    assert "line [" in report


def test_reports_of_another_layout_are_named_and_not_compared(project: Project) -> None:
    old = project.folder / "reports/predictions/cnn.csv"
    content = old.read_text()
    pd.read_csv(old).drop(columns="indeterminate").to_csv(old, index=False)
    project.commit()
    project.git("branch", "old")
    old.write_text(content)
    project.commit()

    report = project.report("old")

    assert "have another layout, so its models cannot be compared" in report
    assert "reports/predictions/cnn.csv lacks the columns indeterminate" in report
    assert "**Data:** the same" in report
    assert cells(report, "test", "ROC AUC")[2] == "–"


def test_a_base_with_the_former_layout_is_named_and_not_compared(project: Project) -> None:
    """One file per report on all models, and untyped."""
    reports = project.folder / "reports"
    (reports / "judgement").mkdir()
    (reports / "evaluation/cnn.json").rename(reports / "judgement/cnn.json")
    (reports / "metrics.json").write_text("{}\n")
    (reports / "registered.json").write_text('{"model": "cnn", "source": "kermany", "data_hash": "%s"}' % ("d1" * 32))
    project.commit()
    project.git("branch", "former")
    shutil.rmtree(reports / "judgement")
    (reports / "metrics.json").unlink()
    project.results(FIRST)

    report = project.report("former")

    assert (
        "so its models cannot be compared with those of the change: reports/judgement belongs to the former" in report
    )
    assert report.startswith("## Model report: `cnn` (new)")
    assert "**Data:** the same" in report
    assert "there is no champion" in report


def test_deleted_and_new_models_are_named(project: Project) -> None:
    project.results(replace(FIRST, models={"cnn": 2.0, "efficientnet": 2.5}))

    report = project.report()

    assert "**Models:** new `efficientnet`; deleted `probe`." in short_part(report)
    assert "<summary>Model efficientnet (new)</summary>" in report


def test_compares_with_the_merge_base_and_leaves_the_working_tree_alone(project: Project) -> None:
    before = project.git("rev-parse", "main")
    project.git("switch", "-q", "main")
    project.results(replace(FIRST, models={"cnn": 0.1, "probe": 0.1}))
    project.git("switch", "-q", "change")
    (project.folder / "notes.txt").write_text("mine\n")
    status, head = project.git("status", "--porcelain"), project.git("rev-parse", "HEAD")

    report = project.report("main")

    assert f"against `{before[:10]}`, the merge base with `main`" in report
    assert "the same for all 160 images" in report
    assert (project.git("status", "--porcelain"), project.git("rev-parse", "HEAD")) == (status, head)


def test_the_report_fits_into_a_comment_with_many_changes(project: Project) -> None:
    many = replace(FIRST, images=1200, name="a_very_long_name_" * 5 + "|`@{}.png")
    project.results(many)
    project.git("branch", "-f", "main")
    project.results(replace(many, models={"cnn": 0.2, "<b>odd|`name`": 0.3}, seed=1))

    report = project.report()

    assert len(report) < GITHUB_LIMIT
    assert re.search(r"… and \d+ more\.", report)
    assert "<summary>Model &lt;b&gt;odd|" in report or "section(s) omitted" in report
    listed = [line for line in report.splitlines() if line.startswith("| `a_very_long_name_")]
    assert listed
    assert {len(re.split(r"(?<!\\)\|", line)) for line in listed} == {6}, "no name breaks out of its cell"
    assert report.count("<details>") == report.count("</details>")
    assert report.count("```") % 2 == 0


def test_charts_and_pictures_show_both(project: Project) -> None:
    project.results(replace(FIRST, models={"cnn": 3.0, "probe": 1.0}))

    report = project.report()

    charts = re.findall(r"```mermaid\n(.*?)```", report, re.S)
    assert [re.search(r'title "(.+?) \(', chart).group(1) for chart in charts] == [  # type: ignore[union-attr]
        "ROC",
        "Precision-recall",
        "Reliability",
    ]
    roc, *_ = charts
    base, change = ([float(y) for y in line.split(",")] for line in re.findall(r"line \[(.+)\]", roc))
    assert base == sorted(base)
    assert change == sorted(change)
    assert sum(change) > sum(base), "the change ranks better, and its curve lies higher"
    for picture in ("roc", "pr", "reliability"):
        assert (project.folder / f"pr_report/{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_base_unrelated_history_and_missing_reports_are_refused(project: Project) -> None:
    with pytest.raises(EvidenceError, match="no commit 'origin/mian' to compare with"):
        project.report("origin/mian")
    with pytest.raises(EvidenceError, match="no commit '--help'"):
        project.report("--help")
    project.git("switch", "-q", "--orphan", "elsewhere")
    project.commit("Another beginning")
    project.git("switch", "-q", "change")
    with pytest.raises(EvidenceError, match="elsewhere and HEAD have no commit in common"):
        project.report("elsewhere")
    shutil.rmtree(project.folder / "reports")
    with pytest.raises(EvidenceError, match="Run `dvc repro`"):
        project.report()


def test_for_a_shallow_clone_the_message_names_the_command(project: Project, tmp_path: Path) -> None:
    project.git("switch", "-q", "main")
    project.commit("Another commit on main")
    project.git("switch", "-q", "change")
    project.commit("Another commit on the branch")
    clone = Project(tmp_path / "clone")
    project.git("clone", "-q", "--depth=1", "--no-single-branch", f"file://{project.folder}", str(clone.folder))
    with pytest.raises(EvidenceError, match="run `git fetch --unshallow`"):
        clone.report("origin/main")
    clone.git("fetch", "-q", "--unshallow")
    assert "Model report" in clone.report("origin/main")


def test_status_is_0_though_the_gate_refuses_and_1_without_traceback_for_an_unknown_base(project: Project) -> None:
    project.results(replace(FIRST, audit="fail"))
    command = [sys.executable, "-m", "pipeline.pr_report", "--output", "pr_report"]
    environment = demo.environment(demo.PROJECT) | {"PYTHONPATH": f"{demo.PROJECT}/src:{demo.PROJECT}"}
    good, bad = (
        subprocess.run(
            [*command, base], cwd=project.folder, env=environment, capture_output=True, text=True, check=False
        )
        for base in ("main", "nowhere")
    )
    assert good.returncode == 0, good.stderr
    assert "**Gate (dry run): refused**" in good.stdout
    assert "<details>" not in good.stdout, "only the short part is printed"
    assert bad.returncode == 1
    assert bad.stderr.startswith("error: git has no commit 'nowhere'")


def test_broken_dvc_yaml_is_one_message(project: Project) -> None:
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": {}}}))
    with pytest.raises(EvidenceError, match="`dvc status` failed"):
        project.report()
