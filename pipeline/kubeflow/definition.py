"""The definition of the DAG in a folder: dvc.yaml, params.yaml and operations.yaml, with settings overridden."""

import contextlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from pipeline import project
from pneumonia.core import paths
from pneumonia.core.errors import ClusterError

FILES = ("dvc.yaml", str(paths.PARAMS), str(paths.OPERATIONS))


@contextlib.contextmanager
def temporary(overrides: Sequence[str]) -> Iterator[Path]:
    """Make a temporary DVC project that holds the definition of this one, with settings overridden.

    Args:
        overrides: as `override` takes them.
    """
    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name:
        folder = Path(name)
        for file in FILES:
            shutil.copyfile(project.ROOT / file, folder / file)
        project.make_dvc(folder, temporary=True)
        override(folder, overrides)
        yield folder


def override(folder: Path, overrides: Sequence[str]) -> None:
    """Change params.yaml and operations.yaml of a folder in place.

    Args:
        folder: with both files.
        overrides: ``[FILE:]KEY=VALUE`` as `dvc exp run -S` takes them, with ``+`` before a new key and ``~`` before
            one to remove. Without FILE, a key whose first part is a section of operations.yaml changes that file, and
            any other key changes params.yaml.

    Raises:
        ClusterError: an override is not in this syntax, or names a key or file that does not exist.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    sections = yaml.safe_load((folder / paths.OPERATIONS).read_text(encoding="utf-8"))
    by_file: dict[str, list[str]] = defaultdict(list)
    for text in overrides:
        file, setting = _file_and_setting(text, sections)
        by_file[file].append(setting)
    for file, settings in by_file.items():
        if file not in FILES[1:]:
            raise ClusterError(f"{file} is not a settings file: expected {' or '.join(FILES[1:])} before the colon.")
        try:
            apply_overrides(folder / file, settings)
        except DvcException as error:
            raise ClusterError(
                f"{' '.join(settings)} cannot be applied to {file}: {error.__cause__ or error}\n"
                f"Expected changes such as train.models.cnn.epochs=2, of keys that {file} has."
            ) from error


def _file_and_setting(text: str, sections: dict[str, object]) -> tuple[str, str]:
    file, colon, setting = text.partition(":")
    if colon and "=" not in file and not file.startswith(("~", "+")):
        return file, setting
    section = text.lstrip("+~").partition("=")[0].partition(".")[0]
    return str(paths.OPERATIONS if section in sections else paths.PARAMS), text
