"""The one tree of exceptions.

PneumoniaError            anything this package refuses or cannot do, with a message for people
├── ConfigError           params.yaml: unknown key, wrong type, value out of range
├── DataError             the images, or where they come from
│   ├── SourceError       a source cannot be had, or is not what its definition says
│   │   ├── DownloadError the network or the server failed for good
│   │   └── ArchiveError  an archive is broken or unsafe to unpack
│   ├── ImageError        bytes that are not a readable image
│   ├── ValidationError   the dataset failed its expectations
│   └── SplitError        the images cannot be split as asked
├── ModelError            networks, their weights and their bundles
│   ├── WeightsError      pretrained weights are missing or do not fit
│   ├── TrainingError     training went wrong (a loss that is not finite)
│   └── BundleError       a bundle folder is incomplete or of another format
├── EvidenceError         what a verdict on a model needs to know is missing
├── TrackingError         the MLflow store or registry
│   └── PromotionError    the champion cannot be changed as asked
├── MonitoringError       the log of predictions, its labels, or what is read out of them
├── ScoringError          a folder of images cannot be scored as asked
├── ClusterError          a pipeline for Kubeflow cannot be compiled, submitted or followed
└── ServiceError          the web application cannot start as asked

Every message says what was expected, what came, and how to mend it. Entry points print the message without a
traceback and exit with status 1; any other exception is a bug and keeps its traceback.
"""


class PneumoniaError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(PneumoniaError):
    """params.yaml holds an unknown key, a wrong type or a value out of range."""


class DataError(PneumoniaError):
    """Something is wrong with the images or with where they come from."""


class SourceError(DataError):
    """A source cannot be had, or is not what its definition says."""


class DownloadError(SourceError):
    """The network or the server failed for good."""


class ArchiveError(SourceError):
    """An archive is broken or unsafe to unpack."""


class ImageError(DataError):
    """Bytes that are not a readable image."""


class ValidationError(DataError):
    """The dataset failed its expectations."""


class SplitError(DataError):
    """The images cannot be split as asked."""


class ModelError(PneumoniaError):
    """Something is wrong with a network, its weights or its bundle."""


class WeightsError(ModelError):
    """Pretrained weights are missing or do not fit."""


class TrainingError(ModelError):
    """Training went wrong, for example with a loss that is not finite."""


class BundleError(ModelError):
    """A bundle folder is incomplete or of another format version."""


class EvidenceError(PneumoniaError):
    """What a verdict on a model needs to know is missing."""


class TrackingError(PneumoniaError):
    """The MLflow store or registry cannot do what was asked."""


class PromotionError(TrackingError):
    """The champion cannot be changed as asked."""


class MonitoringError(PneumoniaError):
    """The log of predictions cannot be used, or does not hold what a report of it needs."""


class ScoringError(PneumoniaError):
    """A folder of images cannot be scored as asked."""


class ClusterError(PneumoniaError):
    """A pipeline for Kubeflow cannot be compiled, submitted or followed."""


class ServiceError(PneumoniaError):
    """The web application cannot start as asked: an open door, a broken key, a database of another release."""
