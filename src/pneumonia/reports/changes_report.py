"""The pull-request report in GitHub's Markdown: a short summary, then folded details."""

from collections.abc import Callable, Iterable, Iterator

from pneumonia.registry import gate
from pneumonia.reports.changes import FIXED, PAIRED, REGRESSED, UNPAIRED, Changes, ModelChange, SubsetChange
from pneumonia.reports.changes_tables import (
    code,
    escape,
    few,
    folded,
    lock_table,
    metric_name,
    metrics_table,
    predictions_tables,
    slices_tables,
    values_table,
)
from pneumonia.reports.project_state import Flat
from pneumonia.reports.report_context import LockState, ReportContext

LIMIT = 60_000
"""Maximum number of characters; a comment on GitHub holds 65,536, and the poster adds a few."""


def summary(changes: Changes, verdict: gate.Verdict, lock: LockState, context: ReportContext) -> str:
    """Return the short part of the report."""
    challenger = changes.challenger
    lines = [f"## Model report: {_models(challenger, code)}", "", f"{context.change}, against {context.base}.", ""]
    lines += _warnings(lock)
    lines += [_gate_line(verdict), ""]
    lines += metrics_table(challenger, PAIRED)
    lines += [""]
    lines += [f"- {note}" for note in context.notes]
    lines += [f"- {_predictions_line(subset)}" for subset in challenger.subsets if challenger.base]
    lines += [f"- {_slices_line(challenger)}"] if challenger.base else []
    lines += [f"- {_models_line(changes)}", f"- {_params_line(changes)}", f"- {_data_line(changes, context.data)}"]
    return "\n".join(lines) + "\n"


def details(changes: Changes, verdict: gate.Verdict, lock: LockState, charts: str) -> Iterator[str]:
    """Yield the folded sections, the most important ones first."""
    challenger = changes.challenger
    if charts:
        yield folded("Curves on the test images", charts)
    for subset in challenger.subsets:
        if len(subset.predictions):
            yield folded(f"Changed predictions, {subset.subset}", "\n".join(predictions_tables(subset.predictions)))
    if any(subset.slices for subset in challenger.subsets):
        yield folded("Slices", "\n".join(slices_tables(challenger)))
    yield folded(f"Gate, dry run: {verdict.outcome}", _gate(verdict))
    for model in changes.models:
        yield folded(f"Model {_models(model, str)}", "\n".join(metrics_table(model, PAIRED)))
    yield folded("More metrics of the challenger", "\n".join(metrics_table(challenger, UNPAIRED)))
    if changes.params:
        yield folded(f"Parameters ({len(changes.params)})", "\n".join(values_table(changes.params)))
    if changes.data:
        yield folded(f"Data ({len(changes.data)})", "\n".join(values_table(changes.data)))
    if lock.stale or lock.edited:
        yield folded("Differences from dvc.lock", "\n".join(lock_table(lock)))


def fitted(short: str, sections: Iterable[str]) -> str:
    """Join summary and sections up to `LIMIT` characters; the number of omitted sections is given."""
    text, omitted = short, 0
    for section in sections:
        if len(text) + len(section) < LIMIT:
            text += f"\n{section}"
        else:
            omitted += 1
    return text + (f"\n{omitted} section(s) omitted: a comment is limited in length.\n" if omitted else "")


def _models(model: ModelChange, format_name: Callable[[str], str]) -> str:
    base, change = model.base and format_name(model.base), format_name(model.change)
    if base is None:
        return f"{change} (new)"
    return change if base == change else f"{base} → {change}"


def _warnings(lock: LockState) -> Iterator[str]:
    if lock.stale:
        stages = few([code(stage) for stage in lock.stale])
        yield "> [!WARNING]"
        yield (
            f"> **dvc.lock is stale** for {stages}: code, parameters or data have changed since these results were "
            "made, so the figures below may not be those of this change. Run `dvc repro`, commit dvc.lock and reports."
        )
        yield ""
    if lock.edited:
        yield "> [!WARNING]"
        yield f"> **Results differ from dvc.lock**: {few([code(file) for file in lock.edited])}."
        yield ""


def _gate_line(verdict: gate.Verdict) -> str:
    applied = [criterion for criterion in verdict.criteria if criterion.outcome != gate.SKIPPED]
    failed = f": {len(verdict.failed)} of {len(applied)} criteria not met" if verdict.failed else ""
    lines = [f"**Gate (dry run): {verdict.outcome}**{failed}."]
    lines += [f"- {criterion.name}: {criterion.found}; expected: {criterion.limit}" for criterion in verdict.failed]
    return "\n".join(lines)


def _predictions_line(subset: SubsetChange) -> str:
    common = subset.images[2]
    if not len(subset.predictions):
        text = f"the same for all {common} images" if common else "no common image"
        return f"**Predictions, {subset.subset}:** {text}."
    counts = subset.predictions["outcome"].value_counts()
    flipped = counts[FIXED] + counts[REGRESSED]
    return (
        f"**Predictions, {subset.subset}:** {flipped} of {common} images flipped, {counts[FIXED]} fixed and "
        f"{counts[REGRESSED]} regressed; {len(subset.predictions) - flipped} more entered or left the indeterminate "
        "band."
    )


def _slices_line(model: ModelChange) -> str:
    slices = [(subset.subset, slice_) for subset in model.subsets for slice_ in subset.slices]
    if not slices:
        return "**Slices:** none with enough patients in both."
    moved = [
        f"{metric_name(slice_.figure.metric)} of “{slice_.name}” ({subset})"
        for subset, slice_ in slices
        if slice_.moved
    ]
    names = f": {escape(few(moved, 4))}" if moved else ""
    return f"**Slices:** {len(moved)} of {len(slices)} metrics of slices changed{names}."


def _models_line(changes: Changes) -> str:
    added = [model.change for model in (changes.challenger, *changes.models) if model.base is None]
    parts = [
        f"{word} {few(map(code, names))}" for word, names in (("new", added), ("deleted", changes.deleted)) if names
    ]
    return f"**Models:** {'; '.join(parts) or 'the same'}."


def _params_line(changes: Changes) -> str:
    return f"**Parameters:** {few([code(value.key) for value in changes.params]) or 'the same'}."


def _data_line(changes: Changes, data: Flat) -> str:
    identity = f"{data.get('source', 'unknown source')}, hash {code(str(data.get('data_hash'))[:12])}"
    if not changes.data:
        return f"**Data:** the same ({identity})."
    keys = {value.key for value in changes.data}
    text = "the images or labels differ" if "data_hash" in keys else "the same images and labels, other reports"
    return f"**Data:** {text} ({identity}; {len(keys)} value(s) differ)."


def _gate(verdict: gate.Verdict) -> str:
    return (
        f"{gate.markdown(verdict)}\n"
        "The challenger of the base takes the place of the champion. The bundle itself is not checked here; "
        "`pneumonia promote` checks golden images and hashes.\n"
    )
