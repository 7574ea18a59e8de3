"""The shortcut audit as a page for readers: what was asked, what was found, what it means, and then the tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from pneumonia.config import AuditParams
from pneumonia.evaluation.markdown import head, interval, row
from pneumonia.evaluation.shortcuts_model import FAIL, PASS, UNKNOWN

Record = Mapping[str, Any]

PARTS = ("development", "test")

NAMES = {
    "width": "image width",
    "height": "image height",
    "megapixels": "megapixels",
    "aspect": "aspect ratio",
    "mode": "unusual file mode (colour)",
    "jpeg_quality": "JPEG quality",
    "bytes": "file size in bytes",
    "bytes_per_megapixel": "bytes per megapixel",
    "header": "all facts of the file together",
    "border": "the outermost frame of the picture",
    "jpeg_50": "JPEG of quality 50",
    "jpeg_20": "JPEG of quality 20",
    "half_size": "half the resolution",
    "quarter_size": "a quarter of the resolution",
    "letterbox": "true aspect, padded with black",
    "blur": "slightly blurred",
    "sharpen": "slightly sharpened",
}
"""Of witnesses, facts and perturbations, for readers."""

SUMMARY = """\
# Shortcut audit

**What was asked.** Radiographs of sick and of healthy people often differ in more than the lungs: they come from
other machines, or are cropped, stored or marked in another way. A model may learn that instead of the disease, look
excellent on such images and fail elsewhere. So two questions: can the classes of this dataset be told apart without
looking at a lung? And if so, do the models live off it?

**What was found in the data: {alarm}.** {data}

**What was found in the models.**

{models}

**What it means.** {meaning}
"""

DATA = """\
## What the data allows

![AUC of each witness that sees no lung](figures/shortcuts_data.png)

Images: {counts}.

Each row is a witness that sees no lung: a fact of the file, a classifier of all such facts, or a classifier of the
outermost {border:.0%} of the picture on each side, which the lungs do not reach. The classifiers learn from
development, and answer there for patients that they have not learnt from. AUC: how often the witness puts an image
of PNEUMONIA and one of NORMAL in the right order; 0.5 is guessing. That of a fact is turned so that it is above 0.5
on development; below 0.5 on test, what is learnt from development misleads.

The intervals, from a bootstrap over patients, hold at 95% for all figures that can raise the alarm together. The
alarm goes off where one lies wholly above {limit:.2f} or below {mirror:.2f}. Bytes also follow what is in the
picture, since an opacity takes fewer than a clear lung; so they are shown and raise no alarm.

| witness | higher in | development | test | alarm |
| --- | --- | --- | --- | --- |
{rows}
"""

MODELS = """\
## What the models do with it

![AUC among images that are alike, and decisions turned by a perturbation](figures/shortcuts_models.png)

On test images. Intervals are at 95%, from a bootstrap over patients. The burden of proof lies with the model: the
unfavourable end of each interval has to keep the limit.

**Images that are alike.** Only pairs of a PNEUMONIA and a NORMAL image are compared that differ by no more than
{calipers}. Among them the fact is of no help, and a model that lives off it falls to 0.5. Limit: the interval of
the AUC lies above {minimum_matched_auc:.2f}, with at least {minimum_patients} patients of each class. *Fact itself*
is the AUC that the fact still has among these pairs: near 0.5, they are alike enough.

**Within a class.** How closely the score follows a fact among images of the same diagnosis (Spearman's correlation:
0 not at all, 1 or -1 wholly). Limit: the interval lies within ±{maximum_correlation:.2f}.

**The same image, stored in another way.** Done to the image as the model sees it. Limits, for mild changes: the
probability moves by no more than {maximum_change:.2f} in the mean, no more than {maximum_flipped:.0%} of decisions
turn, and the AUC falls by no more than {maximum_auc_loss:.2f}.

![The perturbations on a phantom](figures/shortcuts_perturbations.png)
"""

MEANINGS = {
    True: "A high AUC measured on this dataset is no proof of skill by itself: part of it can be had without looking "
    "at a lung. The figures among images that are alike, below, say what is left of it.",
    False: "In what was looked at here, this dataset offers no shortcut; one that lies elsewhere is not excluded.",
    PASS: "A model that passes keeps its judgement where the shortcuts known here are of no help.",
    FAIL: "A model that fails may have learnt some of a shortcut: do not expect its figures to hold on images of "
    "another origin. It is no proof that it did: the size of an image, for one, also goes with the size of the child.",
    UNKNOWN: "Where it cannot be told, too few images of the two classes are alike; that is no acquittal.",
}
"""By alarm of the data and verdict of the models."""


def assemble(data: Record, models: Mapping[str, Record], params: AuditParams) -> dict[str, Any]:
    """Put both verdicts, and the limits that they were held against, into one record of plain JSON types."""
    return {"data": data, "models": dict(models), "limits": params.model_dump()}


def markdown(report: Record) -> str:
    """Write the page for a record of `assemble`; its pictures lie in figures/ beside it."""
    data, models, limits = report["data"], report["models"], report["limits"]
    verdicts = [verdict for verdict in (PASS, FAIL, UNKNOWN) if verdict in {m["verdict"] for m in models.values()}]
    summary = SUMMARY.format(
        alarm="ALARM" if data["alarm"] else "no alarm",
        data=data_sentences(data),
        models="\n".join(f"- `{name}`: {_model_sentence(model)}" for name, model in models.items()),
        meaning=" ".join(MEANINGS[found] for found in (data["alarm"], *verdicts)),
    )
    calipers = ", or ".join(f"{share:.0%} in {NAMES[fact]}" for fact, share in limits["calipers"].items())
    how = MODELS.format(**limits | {"calipers": calipers})
    sections = [summary, _data_section(data, limits), how, *(model_section(*item) for item in models.items())]
    return "\n".join(sections)


def model_section(name: str, model: Record) -> str:
    """Write the tables of one model, for a record of `shortcuts_model.audit` or `judge_scores`."""
    lines = [
        f"### {name}: {model['verdict']}",
        "",
        f"AUC of all {model['images']} images of {model['patients']} patients: {interval(model['auc'])}.",
        "",
        *_matched_table(model["matched"]),
        "",
        *_follows_table(model["follows"]),
        "",
    ]
    if "perturbations" in model:
        lines += [*_perturbation_table(model["perturbations"]), ""]
    return "\n".join(lines)


def data_sentences(data: Record) -> str:
    """Say what was found in the data, for a record of `shortcuts_data.audit`."""
    if not data["alarm"]:
        return (
            "No fact of the files, and nothing in the outermost frame of the pictures, tells the classes apart with "
            f"an AUC surely above {data['limit']:.2f} (0.5 is guessing, 1 is perfect)."
        )
    found = []
    for part in PARTS:
        telling = {name: witness[part] for name, witness in data["witnesses"].items() if witness[part]["alarm"]}
        if telling:
            best = max(telling, key=lambda name: abs(telling[name]["auc"] - 0.5))
            told = f"{len(telling)} of {sum(witness['can_alarm'] for witness in data['witnesses'].values())}"
            found.append(f"on {part} {told}, best {NAMES[best]} with an AUC of {interval(telling[best], 'auc')}")
        else:
            found.append(f"on {part} none")
    return (
        "Witnesses that see no lung tell the classes apart: " + "; ".join(found) + " (0.5 is guessing, 1 is perfect)."
    )


def _model_sentence(model: Record) -> str:
    found = f"**{model['verdict']}**, with an AUC of {interval(model['auc'])} on all images."
    for outcome, lead in ((FAIL, "It fails on"), (UNKNOWN, "It cannot be told for")):
        reasons = list(_reasons(model, outcome))
        if reasons:
            found += f" {lead} {'; '.join(reasons)}."
    return found


def _reasons(model: Record, outcome: str) -> Iterator[str]:
    for fact, entry in model["matched"].items():
        if entry["outcome"] == outcome:
            found = f"AUC {interval(entry['auc'])}" if "auc" in entry else f"{entry['pairs']} pairs"
            yield f"images alike in {NAMES[fact]}, {found}"
    for label, facts in model["follows"].items():
        for fact, entry in facts.items():
            if entry.get("outcome") == outcome:
                yield f"its score within {label}, which follows {NAMES[fact]} by {interval(entry['correlation'])}"
    for name, entry in model.get("perturbations", {}).items():
        if entry.get("outcome") == outcome:
            yield f"the same image as {NAMES[name]}, which turns {entry['flipped']['value']:.1%} of its decisions"


def _data_section(data: Record, limits: Record) -> str:
    rows = []
    for name, witness in data["witnesses"].items():
        alarms = ", ".join(part for part in PARTS if witness[part]["alarm"])
        cells = (NAMES[name], witness["higher_in"], *(interval(witness[part], "auc") for part in PARTS))
        rows.append(row(*cells, alarms or ("no" if witness["can_alarm"] else "(never)")))
    return DATA.format(
        counts=", ".join(f"{part} {data['images'][part]:,} of {data['patients'][part]:,} patients" for part in PARTS),
        border=limits["border"],
        limit=data["limit"],
        mirror=1 - data["limit"],
        rows="\n".join(rows),
    )


def _matched_table(matched: Record) -> Iterator[str]:
    yield from head("alike in", "pairs", "patients NORMAL / PNEUMONIA", "AUC", "fact itself", "outcome")
    for fact, entry in matched.items():
        patients = " / ".join(str(count) for count in entry["patients"].values())
        figures = (interval(entry[name]) if name in entry else "-" for name in ("auc", "fact_auc"))
        outcome = "too few pairs to say" if entry["outcome"] == UNKNOWN else entry["outcome"]
        yield row(NAMES[fact], f"{entry['pairs']:,}", patients, *figures, outcome)


def _follows_table(follows: Record) -> Iterator[str]:
    yield from head("score follows", *(cell for label in follows for cell in (f"within {label}", "outcome")))
    for fact in next(iter(follows.values())):
        cells = []
        for facts in follows.values():
            correlation = facts[fact].get("correlation")
            cells += [interval(correlation) if correlation else "the same in all", _outcome(facts[fact])]
        yield row(NAMES[fact], *cells)


def _perturbation_table(perturbations: Record) -> Iterator[str]:
    yield from head("the same image", "probability moves by", "direction", "decisions turned", "AUC change", "outcome")
    for name, entry in perturbations.items():
        yield row(
            NAMES[name],
            interval(entry["mean_absolute_change"]),
            f"{entry['mean_change']['value']:+.3f}",
            interval(entry["flipped"]),
            interval(entry["auc_change"]),
            _outcome(entry),
        )


def _outcome(entry: Record) -> str:
    return str(entry.get("outcome", "(not judged)"))
