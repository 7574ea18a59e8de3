"""Paths of a project's files, relative to its root. Stages and commands define no paths of their own."""

from pathlib import Path

PARAMS = Path("params.yaml")
OPERATIONS = Path("operations.yaml")

DATASET_DEFINITION = Path("data/kermany.yaml")
PUBLISHED_FACTS = Path("data/kermany-files.csv")

ARTIFACTS = Path("artifacts")
DOWNLOADS = ARTIFACTS / "downloads"
RAW = ARTIFACTS / "raw"
MANIFEST = ARTIFACTS / "manifest.parquet"
DATA_DOCS = ARTIFACTS / "data_docs"
SPLITS = ARTIFACTS / "splits.parquet"
IMAGES = ARTIFACTS / "images"
HEADER_METADATA = ARTIFACTS / "header_metadata.parquet"
CHECKPOINTS = ARTIFACTS / "checkpoints"
NETWORKS = ARTIFACTS / "networks"
BUNDLES = ARTIFACTS / "models"
EXPLANATIONS = ARTIFACTS / "explanations"
PROFILES = ARTIFACTS / "profiles"

REPORTS = Path("reports")
DOWNLOAD_REPORT = REPORTS / "download.json"
VALIDATION_REPORT = REPORTS / "validation.json"
SPLIT_REPORT = REPORTS / "split.json"
TRAINING_REPORTS = REPORTS / "train"
CALIBRATION_REPORTS = REPORTS / "calibration"
EVALUATION_REPORTS = REPORTS / "evaluation"
METRICS = REPORTS / "metrics"
SUMMARY = REPORTS / "summary"
PREDICTIONS = REPORTS / "predictions"
PLOTS = REPORTS / "plots"
DATA_AUDIT = REPORTS / "audit_data.json"
MODEL_AUDITS = REPORTS / "audit"
EXPLANATION_REPORTS = REPORTS / "explanations"
PROFILE_REPORTS = REPORTS / "profiles"
FIGURES = REPORTS / "figures"
MODEL_FIGURES = FIGURES / "models"
COMPARISON = REPORTS / "comparison.json"
SHORTCUTS_PAGE = REPORTS / "shortcuts.md"
REGISTRATION = REPORTS / "registered.json"
MODEL_CARD = REPORTS / "model_card.md"

RELEASE = Path("release")
