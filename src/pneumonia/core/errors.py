"""Exceptions of the package.

PneumoniaError            base of every expected error
├── MissingExtraError     an optional dependency is not installed (`core.extras`)
├── ConfigError           a settings file: unknown key, wrong type, value out of range
├── DataError             the images or their source
│   ├── SourceError       a source is not available, or differs from its definition
│   │   ├── DownloadError the network or the server failed permanently
│   │   └── ArchiveError  an archive is damaged or unsafe to unpack
│   ├── ImageError        a file is not a readable image
│   ├── ValidationError   the dataset failed its expectations
│   └── SplitError        the images cannot be split as configured
├── ModelError            networks, their weights and their bundles
│   ├── WeightsError      pretrained weights are missing or do not fit
│   ├── TrainingError     training failed (a loss that is not finite)
│   └── BundleError       a bundle folder is incomplete or of another format
├── EvidenceError         a report that a decision needs is missing or of another version
├── TrackingError         the MLflow store or registry
│   └── PromotionError    the champion cannot be changed as requested
├── MonitoringError       the prediction log, its labels, or a report of them
├── ScoringError          a folder of images cannot be scored as requested
├── ClusterError          a Kubeflow pipeline cannot be compiled, submitted or monitored
└── ServiceError          the web application cannot start as configured

Every message states what was expected, what was received and how to fix it. Entry points print the message without a
traceback and exit with status 1; any other exception is a bug and keeps its traceback.
"""


class PneumoniaError(Exception):
    """Base of every expected error."""


class ConfigError(PneumoniaError):
    """A settings file has an unknown key, a wrong type or a value out of range."""


class DataError(PneumoniaError):
    """The images or their source are invalid."""


class SourceError(DataError):
    """A source is not available, or differs from its definition."""


class DownloadError(SourceError):
    """The network or the server failed permanently."""


class ArchiveError(SourceError):
    """An archive is damaged or unsafe to unpack."""


class ImageError(DataError):
    """A file is not a readable image."""


class ValidationError(DataError):
    """The dataset failed its expectations."""


class SplitError(DataError):
    """The images cannot be split as configured."""


class ModelError(PneumoniaError):
    """A network, its weights or its bundle are invalid."""


class WeightsError(ModelError):
    """Pretrained weights are missing or do not fit."""


class TrainingError(ModelError):
    """Training failed, for example with a loss that is not finite."""


class BundleError(ModelError):
    """A bundle folder is incomplete or of another format version."""


class EvidenceError(PneumoniaError):
    """A report that a decision needs is missing or of another version."""


class TrackingError(PneumoniaError):
    """The MLflow store or registry cannot do what was requested."""


class PromotionError(TrackingError):
    """The champion cannot be changed as requested."""


class MonitoringError(PneumoniaError):
    """The prediction log cannot be used, or lacks the data for a report."""


class ScoringError(PneumoniaError):
    """A folder of images cannot be scored as requested."""


class ClusterError(PneumoniaError):
    """A Kubeflow pipeline cannot be compiled, submitted or monitored."""


class ServiceError(PneumoniaError):
    """The web application cannot start as configured: no authentication, an invalid key, an unknown database."""
