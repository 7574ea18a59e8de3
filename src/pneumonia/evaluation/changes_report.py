"""The report on a change, in GitHub's Markdown: what matters first, everything else folded."""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pneumonia.evaluation import gate
from pneumonia.evaluation.changes import (
    ALONE,
    BROKEN,
    FATES,
    MENDED,
    PAIRED,
    Changes,
    Flat,
    ModelChange,
    SliceChange,
    SubsetChange,
    ValueChange,
    excludes_zero,
)
from pneumonia.evaluation.intervals import Estimate
from pneumonia.evaluation.markdown import head, row

LIMIT = 60_000
"""Characters; a comment on GitHub holds 65,536, and whoever posts it adds a little."""

MAXIMUM_ROWS = 40
"""Of any list in the report; it says how many more there are."""

MAXIMUM_DOUBTS = 10
"""Rows of images that keep their class and enter or leave the indeterminate band."""

MAXIMUM_NAME = 120
"""Characters of a name or value."""

NAMES = {"roc_auc": "ROC AUC", "pr_auc": "PR AUC", "npv": "NPV", "ece": "ECE", "brier": "Brier score"}
NOTHING = "–"


@dataclass(frozen=True)
class Setting:
    """What is compared with what, and what goes with it.

    Attributes:
        base: the base, in words.
        change: the change, in words.
        data: what the change's reports say of the images, flat.
        notes: on the comparison as a whole.
    """

    base: str
    change: str
    data: Flat
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Lock:
    """How dvc.lock and the results in git fit each other.

    Attributes:
        stale: by stage what has changed since its results were made.
        edited: results in git that are not those that dvc.lock names.
    """

    stale: Mapping[str, Sequence[str]]
    edited: Sequence[str]


def summary(changes: Changes, verdict: gate.Verdict, lock: Lock, setting: Setting) -> str:
    """Write the short part."""
    challenger = changes.challenger
    lines = [f"## Model report: {_models(challenger, _code)}", "", f"{setting.change}, against {setting.base}.", ""]
    lines += _warnings(lock)
    lines += [_gate_line(verdict), ""]
    lines += _table(challenger, PAIRED)
    lines += [""]
    lines += [f"- {note}" for note in setting.notes]
    lines += [f"- {_answers_line(subset)}" for subset in challenger.subsets if challenger.base]
    lines += [f"- {_slices_line(challenger)}"] if challenger.base else []
    lines += [f"- {_models_line(changes)}", f"- {_params_line(changes)}", f"- {_data_line(changes, setting.data)}"]
    return "\n".join(lines) + "\n"


def details(changes: Changes, verdict: gate.Verdict, lock: Lock, charts: str) -> Iterator[str]:
    """Write the folded parts, the more telling ones first."""
    challenger = changes.challenger
    if charts:
        yield _folded("Curves on the test images", charts)
    for subset in challenger.subsets:
        if len(subset.answers):
            yield _folded(f"Images answered otherwise, {subset.subset}", "\n".join(_answers(subset.answers)))
    if any(subset.slices for subset in challenger.subsets):
        yield _folded("Slices", "\n".join(_slices(challenger)))
    yield _folded(f"The gate, run dry: {verdict.outcome}", _gate(verdict))
    for model in changes.models:
        yield _folded(f"Model {_models(model, str)}", "\n".join(_table(model, PAIRED)))
    yield _folded("More figures of the challenger", "\n".join(_table(challenger, ALONE)))
    if changes.params:
        yield _folded(f"Parameters ({len(changes.params)})", "\n".join(_values(changes.params)))
    if changes.data:
        yield _folded(f"Data ({len(changes.data)})", "\n".join(_values(changes.data)))
    if lock.stale or lock.edited:
        yield _folded("What dvc.lock does not know", "\n".join(_lock(lock)))


def fitted(short: str, parts: Iterable[str]) -> str:
    """Join the report, leaving out what does not fit into `LIMIT` and saying so."""
    text, left_out = short, 0
    for part in parts:
        if len(text) + len(part) < LIMIT:
            text += f"\n{part}"
        else:
            left_out += 1
    return text + (f"\n{left_out} part(s) left out, for the length of a comment.\n" if left_out else "")


def _models(model: ModelChange, dressed: Callable[[str], str]) -> str:
    base, change = model.base and dressed(model.base), dressed(model.change)
    if base is None:
        return f"{change} (new)"
    return change if base == change else f"{base} → {change}"


def _warnings(lock: Lock) -> Iterator[str]:
    if lock.stale:
        stages = _few([_code(stage) for stage in lock.stale])
        yield "> [!WARNING]"
        yield (
            f"> **dvc.lock is stale** for {stages}: code, parameters or data have changed since these results were "
            "made, and the figures below may not be this change's. Run `dvc repro`, commit dvc.lock and reports/."
        )
        yield ""
    if lock.edited:
        yield "> [!WARNING]"
        yield f"> **Not what the pipeline wrote**, by dvc.lock: {_few([_code(file) for file in lock.edited])}."
        yield ""


def _gate_line(verdict: gate.Verdict) -> str:
    asked = [criterion for criterion in verdict.criteria if criterion.outcome != gate.SKIPPED]
    failed = f": {len(verdict.failed)} of {len(asked)} criteria not met" if verdict.failed else ""
    lines = [f"**Gate (dry run): {verdict.outcome}**{failed}."]
    lines += [f"- {criterion.name}: {criterion.found}; asked: {criterion.limit}" for criterion in verdict.failed]
    return "\n".join(lines)


def _table(model: ModelChange, figures: Sequence[str]) -> Iterator[str]:
    is_paired = model.base is not None and figures == PAIRED
    yield from head("images", "figure", "base", "change", *(["difference"] if is_paired else []))
    for subset in model.subsets:
        for found in subset.figures:
            if found.figure in figures:
                difference = [_difference(found.difference)] if is_paired else []
                yield row(subset.subset, _name(found.figure), _told(found.base), _told(found.change), *difference)
    yield ""
    if is_paired:
        yield (
            "Change less base with its 95% interval, paired over the same images and patients; "
            "**bold** where it excludes 0."
        )
    for subset in model.subsets if model.base else ():
        if not subset.same_images:
            base, change, common = subset.images
            yield (
                f"The {subset.subset} images are not the same: {base} in the base, {change} in the change. "
                f"Differences and answers are on the {common} in common."
            )


def _answers_line(subset: SubsetChange) -> str:
    common = subset.images[2]
    if not len(subset.answers):
        told = f"the same for all {common} images" if common else "no image in common"
        return f"**Answers, {subset.subset}:** {told}."
    counts = subset.answers["fate"].value_counts()
    other = len(subset.answers) - counts[MENDED] - counts[BROKEN]
    return (
        f"**Answers, {subset.subset}:** of {common} images {counts[MENDED] + counts[BROKEN]} flipped, "
        f"{counts[MENDED]} mended and {counts[BROKEN]} broken; {other} more became or ceased to be indeterminate."
    )


def _slices_line(model: ModelChange) -> str:
    looked_at = [(subset.subset, slice_) for subset in model.subsets for slice_ in subset.slices]
    if not looked_at:
        return "**Slices:** none with enough patients in both."
    moved = [
        f"{_name(slice_.found.figure)} of “{slice_.name}” ({subset})" for subset, slice_ in looked_at if slice_.moved
    ]
    named = f": {_escaped(_few(moved, 4))}" if moved else ""
    return f"**Slices:** {len(moved)} of {len(looked_at)} figures of slices moved{named}."


def _models_line(changes: Changes) -> str:
    added = [model.change for model in (changes.challenger, *changes.models) if model.base is None]
    told = [
        f"{word} {_few(map(_code, names))}" for word, names in (("new", added), ("deleted", changes.deleted)) if names
    ]
    return f"**Models:** {'; '.join(told) or 'the same'}."


def _params_line(changes: Changes) -> str:
    return f"**Parameters:** {_few([_code(value.key) for value in changes.params]) or 'the same'}."


def _data_line(changes: Changes, data: Flat) -> str:
    about = f"{data.get('source', 'unknown source')}, hash {_code(str(data.get('data_hash'))[:12])}"
    if not changes.data:
        return f"**Data:** the same ({about})."
    keys = {value.key for value in changes.data}
    images = "the images or labels differ" if "data_hash" in keys else "the same images and labels, other records"
    return f"**Data:** {images} ({about}; {len(keys)} value(s) differ)."


def _answers(answers: pd.DataFrame) -> Iterator[str]:
    yield from head("what became of the answer", "images")
    counts = answers["fate"].value_counts()
    for fate in FATES:
        yield row(_fate(fate), str(counts[fate]))
    for fate in FATES:
        listed = answers[answers["fate"] == fate]
        limit = MAXIMUM_ROWS if fate in (BROKEN, MENDED) else MAXIMUM_DOUBTS
        if not len(listed):
            continue
        yield from ("", f"**{_fate(fate)}**", "", *head("image", "label", "base", "change"))
        for answer in listed.head(limit).itertuples():
            before = _answer(answer.predicted_base, answer.probability_base, answer.indeterminate_base)
            after = _answer(answer.predicted_change, answer.probability_change, answer.indeterminate_change)
            yield row(_code(str(answer.path)), str(answer.label), before, after)
        yield from _more(len(listed), limit)


def _answer(predicted: Any, probability: Any, indeterminate: Any) -> str:
    return f"{predicted} {probability:.3f}{' (indeterminate)' if indeterminate else ''}"


def _fate(fate: str) -> str:
    return fate + {MENDED: " (wrong → right)", BROKEN: " (right → wrong)"}.get(fate, "")


def _slices(model: ModelChange) -> Iterator[str]:
    found = [(subset.subset, slice_) for subset in model.subsets for slice_ in subset.slices]
    moved = [one for one in found if one[1].moved]
    yield (
        "A slice by cause has moved where the interval of its paired difference excludes 0. The images of the other "
        "slices are not told by the predictions: such a slice has moved where its new value lies outside the base's "
        "interval. With so many slices some move by chance."
    )
    for title, some in (("Moved", moved), ("Not moved", [one for one in found if not one[1].moved])):
        if some:
            yield from ("", f"**{title}**", "", *head("images", "slice", "figure", "base", "change", "difference"))
            for subset, slice_ in some[:MAXIMUM_ROWS]:
                yield _slice_row(subset, slice_)
            yield from _more(len(some))


def _slice_row(subset: str, slice_: SliceChange) -> str:
    found = slice_.found
    difference = _difference(found.difference) if found.difference else "unpaired"
    name = f"{slice_.kind}: {slice_.name}"
    return row(subset, _escaped(name), _name(found.figure), _told(found.base), _told(found.change), difference)


def _gate(verdict: gate.Verdict) -> str:
    return (
        f"{gate.markdown(verdict)}\n"
        "The base's challenger stands in for the champion. The bundle itself is not opened here: golden images and "
        "hashes are for `pneumonia promote`.\n"
    )


def _values(values: Sequence[ValueChange]) -> Iterator[str]:
    yield from head("key", "base", "change")
    for value in values[:MAXIMUM_ROWS]:
        yield row(_code(value.key), _value(value.base), _value(value.change))
    yield from _more(len(values))


def _lock(lock: Lock) -> Iterator[str]:
    yield from head("stage", "changed since its results were made")
    for stage, reasons in list(lock.stale.items())[:MAXIMUM_ROWS]:
        yield row(_code(stage), _few([_code(reason) for reason in reasons]))
    for file in lock.edited[:MAXIMUM_ROWS]:
        yield row(NOTHING, f"{_code(file)} is not what the pipeline wrote")


def _folded(title: str, content: str) -> str:
    """Fold a part away; its title is no Markdown to GitHub, but HTML."""
    return f"<details><summary>{html.escape(title)}</summary>\n\n{content.rstrip()}\n\n</details>\n"


def _told(figure: Estimate | None) -> str:
    return NOTHING if figure is None else str(figure)


def _difference(difference: Estimate | None) -> str:
    if difference is None:
        return NOTHING
    ends = "" if difference.low is None else f" ({difference.low:+.3f} to {difference.high:+.3f})"
    told = f"{difference.value:+.3f}{ends}"
    return f"**{told}**" if excludes_zero(difference) else told


def _name(figure: str) -> str:
    return NAMES.get(figure, figure.replace("_", " "))


def _few(names: Iterable[str], limit: int = 6) -> str:
    """Name some, and say how many more there are."""
    named = list(names)
    more = f" and {len(named) - limit} more" if len(named) > limit else ""
    return ", ".join(named[:limit]) + more


def _more(count: int, limit: int = MAXIMUM_ROWS) -> Iterator[str]:
    if count > limit:
        yield from ("", f"… and {count - limit} more.")


def _value(value: Any) -> str:
    return NOTHING if value is None else _code(str(value))


def _code(text: str) -> str:
    """Set a name as code, in which nothing is Markdown, inside a table too."""
    name = text if len(text) <= MAXIMUM_NAME else f"{text[: MAXIMUM_NAME - 1]}…"
    return f"`{_escaped(name).replace('`', chr(39))}`"


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
