"""Tables and lists of the pull-request report, in GitHub's Markdown."""

import html
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from pneumonia.core.estimate import Estimate
from pneumonia.core.markdown import head, row
from pneumonia.reports.changes import (
    FIXED,
    OUTCOMES,
    PAIRED,
    REGRESSED,
    ModelChange,
    SliceChange,
    ValueChange,
    excludes_zero,
)
from pneumonia.reports.report_context import LockState

MAXIMUM_ROWS = 40
"""Maximum length of any list; the number of further entries is given."""

MAXIMUM_BAND_ROWS = 10
"""Maximum number of listed images that keep their class and enter or leave the indeterminate band."""

MAXIMUM_NAME = 120
"""Maximum number of characters of a name or value."""

NAMES = {"roc_auc": "ROC AUC", "pr_auc": "PR AUC", "npv": "NPV", "ece": "ECE", "brier": "Brier score"}
NOTHING = "–"


def metrics_table(model: ModelChange, metrics: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table of metrics in both states, with paired differences for the metrics of `PAIRED`."""
    is_paired = model.base is not None and metrics == PAIRED
    yield from head("images", "metric", "base", "change", *(["difference"] if is_paired else []))
    for subset in model.subsets:
        for figure in subset.figures:
            if figure.metric in metrics:
                difference = [_difference(figure.difference)] if is_paired else []
                values = (_estimate(figure.base), _estimate(figure.change))
                yield row(subset.subset, metric_name(figure.metric), *values, *difference)
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
                f"The {subset.subset} images differ: {base} in the base, {change} in the change. "
                f"Differences and predictions are on the {common} common images."
            )


def predictions_tables(predictions: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table of counts by outcome, and of one table of images per outcome."""
    yield from head("outcome", "images")
    counts = predictions["outcome"].value_counts()
    for outcome in OUTCOMES:
        yield row(_outcome(outcome), str(counts[outcome]))
    for outcome in OUTCOMES:
        listed = predictions[predictions["outcome"] == outcome]
        limit = MAXIMUM_ROWS if outcome in (REGRESSED, FIXED) else MAXIMUM_BAND_ROWS
        if not len(listed):
            continue
        yield from ("", f"**{_outcome(outcome)}**", "", *head("image", "label", "base", "change"))
        for entry in listed.head(limit).to_dict("records"):
            states = (
                _prediction(
                    str(entry[f"predicted_{state}"]),
                    float(entry[f"probability_{state}"]),
                    bool(entry[f"indeterminate_{state}"]),
                )
                for state in ("base", "change")
            )
            yield row(code(str(entry["path"])), str(entry["label"]), *states)
        yield from _more(len(listed), limit)


def slices_tables(model: ModelChange) -> Iterator[str]:
    """Yield an explanation, and the tables of slices that changed and that did not."""
    slices = [(subset.subset, slice_) for subset in model.subsets for slice_ in subset.slices]
    yield (
        "A slice by cause has changed if the interval of its paired difference excludes 0. For the other slices the "
        "predictions do not contain the images; such a slice has changed if its new value lies outside the base's "
        "interval. With this many slices, some change by chance."
    )
    for title, moved in (("Changed", True), ("Not changed", False)):
        listed = [(subset, slice_) for subset, slice_ in slices if slice_.moved == moved]
        if listed:
            yield from ("", f"**{title}**", "", *head("images", "slice", "metric", "base", "change", "difference"))
            for subset, slice_ in listed[:MAXIMUM_ROWS]:
                yield _slice_row(subset, slice_)
            yield from _more(len(listed))


def values_table(values: Sequence[ValueChange]) -> Iterator[str]:
    """Yield the lines of a table of changed values."""
    yield from head("key", "base", "change")
    for value in values[:MAXIMUM_ROWS]:
        yield row(code(value.key), _value(value.base), _value(value.change))
    yield from _more(len(values))


def lock_table(lock: LockState) -> Iterator[str]:
    """Yield the lines of a table of stale stages and edited results."""
    yield from head("stage", "changed since its results were made")
    for stage, reasons in list(lock.stale.items())[:MAXIMUM_ROWS]:
        yield row(code(stage), few([code(reason) for reason in reasons]))
    for file in lock.edited[:MAXIMUM_ROWS]:
        yield row(NOTHING, f"{code(file)} differs from the result in dvc.lock")


def folded(title: str, content: str) -> str:
    """Return a folded section; GitHub renders its title as HTML, not as Markdown."""
    return f"<details><summary>{html.escape(title)}</summary>\n\n{content.rstrip()}\n\n</details>\n"


def metric_name(metric: str) -> str:
    """Return the name of a metric for readers."""
    return NAMES.get(metric, metric.replace("_", " "))


def few(names: Iterable[str], limit: int = 6) -> str:
    """Return the first names, and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def code(text: str) -> str:
    """Return text as inline code, shortened, in which nothing is interpreted as Markdown, inside a table too."""
    name = text if len(text) <= MAXIMUM_NAME else f"{text[: MAXIMUM_NAME - 1]}…"
    return f"`{escape(name).replace('`', chr(39))}`"


def escape(text: str) -> str:
    """Return text that fits into one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def _slice_row(subset: str, slice_: SliceChange) -> str:
    figure = slice_.figure
    difference = _difference(figure.difference) if figure.difference else "unpaired"
    values = (_estimate(figure.base), _estimate(figure.change), difference)
    return row(subset, escape(f"{slice_.kind}: {slice_.name}"), metric_name(figure.metric), *values)


def _prediction(predicted: str, probability: float, indeterminate: bool) -> str:
    return f"{predicted} {probability:.3f}{' (indeterminate)' if indeterminate else ''}"


def _outcome(outcome: str) -> str:
    return outcome + {FIXED: " (wrong → correct)", REGRESSED: " (correct → wrong)"}.get(outcome, "")


def _estimate(figure: Estimate | None) -> str:
    return NOTHING if figure is None else str(figure)


def _difference(difference: Estimate | None) -> str:
    if difference is None:
        return NOTHING
    ends = "" if difference.low is None else f" ({difference.low:+.3f} to {difference.high:+.3f})"
    text = f"{difference.value:+.3f}{ends}"
    return f"**{text}**" if excludes_zero(difference) else text


def _more(count: int, limit: int = MAXIMUM_ROWS) -> Iterator[str]:
    if count > limit:
        yield from ("", f"… and {count - limit} more.")


def _value(value: object) -> str:
    return NOTHING if value is None else code(str(value))
