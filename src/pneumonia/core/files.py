"""Atomic writes, and typed JSON: a killed process leaves the previous file or the complete new one."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
from pydantic import BaseModel

from pneumonia.core.errors import EvidenceError

if TYPE_CHECKING:
    import pandas as pd

Model = TypeVar("Model", bound=BaseModel)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a text file (UTF-8) atomically; its folder is created."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, report: BaseModel | Mapping[str, Any], *, sort_keys: bool = False) -> None:
    """Write a report as JSON, its keys in the order of the model or mapping, or sorted."""
    write_bytes(path, json_bytes(report, sort_keys=sort_keys))


def json_bytes(report: BaseModel | Mapping[str, Any], *, sort_keys: bool = False) -> bytes:
    """Return what `write_json` writes."""
    content = report.model_dump(mode="json") if isinstance(report, BaseModel) else report
    return (json.dumps(content, indent=2, sort_keys=sort_keys) + "\n").encode("utf-8")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index as CSV, atomically."""
    write_text(path, table.to_csv(index=False))


def read_json(path: Path, model: type[Model]) -> Model:
    """Read a report that `write_json` wrote.

    Raises:
        EvidenceError: the file is missing, or is not such a report.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise EvidenceError(f"{path} is missing. Run `dvc repro`, or restore it with git.") from None
    except pydantic.ValidationError as error:
        raise EvidenceError(
            f"{path} is not a {model.__name__} of this version ({error.error_count()} faults; first: "
            f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}). Run `dvc repro` again."
        ) from error
