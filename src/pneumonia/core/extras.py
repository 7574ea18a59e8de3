"""Errors that name the optional extra of this package that installs a missing dependency."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from pneumonia.core.errors import PneumoniaError

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "dvc": "pipeline",
        "evidently": "monitor",
        "great_expectations": "pipeline",
        "h5py": "train",
        "jax": "distributed",
        "keras": "train",
        "kfp": "kubeflow",
        "kfp_server_api": "kubeflow",
        "mlflow": "registry",
        "onnx": "train",
        "psycopg": "postgres",
        "requests": "train",
        "s3fs": "s3",
        "tensorflow": "train",
        "tf2onnx": "train",
    }
)
"""The extra of pyproject.toml that installs a top-level module. Modules of the base installation are not listed."""


class MissingExtraError(PneumoniaError):
    """A command needs a dependency that only an extra installs.

    Examples:
        >>> print(MissingExtraError("evidently"))
        evidently is not installed. It is part of the extra 'monitor': run `pip install "pneumonia[monitor]"`.

    Attributes:
        module: top-level module that cannot be imported, such as ``mlflow``.
        extra: name of the extra that installs it, such as ``registry``.
    """

    def __init__(self, module: str) -> None:
        """Make the error of a module in `EXTRAS`."""
        self.module = module
        self.extra = EXTRAS[module]
        super().__init__(
            f"{module} is not installed. It is part of the extra {self.extra!r}: "
            f'run `pip install "pneumonia[{self.extra}]"`.'
        )


@contextmanager
def report_missing_extras() -> Iterator[None]:
    """Replace the ModuleNotFoundError of an optional dependency by one that names the command to install it.

    Import errors of all other modules pass through unchanged: they are bugs of the installation or of this package.

    Raises:
        MissingExtraError: the module that is missing belongs to an extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        raise MissingExtraError(module) from error
