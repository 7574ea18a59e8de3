"""Typed report of the stage *register*: which model became a version of the registered model."""

from pneumonia.core.model import FrozenModel


class Registration(FrozenModel):
    """The registered bundle, reports/registered.json.

    Attributes:
        name: of the registered model.
        alias: given to the new version.
        model: name of the model in params.yaml.
        subset: on which the model was selected.
        metric: by which the model was selected.
        metrics: of the model on that subset.
        source: of the images: kermany, phantom or a path.
        data_hash: of the images and their labels.
        bundle_sha256: identity of the bundle, `Card.sha256`.
    """

    name: str
    alias: str
    model: str
    subset: str
    metric: str
    metrics: dict[str, float]
    source: str
    data_hash: str
    bundle_sha256: str
