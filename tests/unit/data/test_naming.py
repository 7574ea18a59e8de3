import csv
from collections import defaultdict
from pathlib import Path

import pytest

from pneumonia.core import labels
from pneumonia.data import naming

FILES = Path(__file__).parents[3] / "data" / "kermany-files.csv"


@pytest.mark.parametrize(
    ("filename", "label", "cause", "patient"),
    [
        ("person12_bacteria_46.jpeg", "PNEUMONIA", "bacteria", "bacteria-12"),
        ("person12_virus_46.jpeg", "PNEUMONIA", "virus", "virus-12"),
        ("person447_virus_921_1.jpeg", "PNEUMONIA", "virus", "virus-447"),
        ("IM-0115-0001.jpeg", "NORMAL", "normal", "normal-0115"),
        ("IM-0523-0001-0002.jpeg", "NORMAL", "normal", "normal-0523"),
        ("NORMAL2-IM-0095-0001-0002.jpeg", "NORMAL", "normal", "normal2-0095"),
        ("BACTERIA-1008087-0001.jpeg", "PNEUMONIA", "bacteria", "bacteria-1008087"),
        ("VIRUS-1004-0002.jpeg", "PNEUMONIA", "virus", "virus-1004"),
        ("NORMAL-28501-0001.jpeg", "NORMAL", "normal", "normal-28501"),
        ("person12_bacteria_46 (1).jpg", "PNEUMONIA", "bacteria", "bacteria-12"),
        ("scan.7.png", "PNEUMONIA", "unknown", None),
        ("scan7.png", "NORMAL", "normal", None),
        ("person12.dcm", "PNEUMONIA", "unknown", None),
        ("IM000001", "NORMAL", "normal", None),
    ],
)
def test_names_are_parsed_to_cause_and_patient(filename: str, label: str, cause: str, patient: str | None) -> None:
    assert naming.parse(filename, label) == naming.ImageName(cause, patient)


@pytest.mark.parametrize(
    ("filename", "label", "cause", "patient"),
    [
        ("person12_bacteria_46.jpeg", "NORMAL", "normal", "bacteria-12"),
        ("IM-0115-0001.jpeg", "PNEUMONIA", "unknown", "normal-0115"),
    ],
)
def test_a_relabelled_image_has_the_cause_of_its_folder_and_keeps_its_patient(
    filename: str, label: str, cause: str, patient: str | None
) -> None:
    assert naming.parse(filename, label) == naming.ImageName(cause, patient)


def test_official_names_give_4097_patients_and_none_on_both_sides_of_the_official_split() -> None:
    sides = defaultdict(set)
    with FILES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = naming.parse(row["filename"], row["class"])
            assert name.cause in labels.CAUSES
            assert (name.cause == "normal") == (row["class"] == "NORMAL")
            sides[name.patient].add("test" if row["split"] == "test" else "development")
    assert len(sides) == 4097
    assert all(len(side) == 1 for side in sides.values())
