"""Fixed texts of the model card."""

from pneumonia.evaluation.aspect import ASPECT_SWAPPED

LICENCE = "Apache-2.0"

KINDS = {
    "probe": "logistic regression on the frozen features of a pretrained network",
    "cnn": "small convolutional network, trained from scratch",
    "finetune": "pretrained convolutional network, fine-tuned",
}
"""Descriptions of the kinds of models in params.yaml."""

METRICS = {
    "roc_auc": "ROC AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}
"""Metrics of each subset, with their titles; predictive values are given by prevalence instead."""

METRICS_OUTSIDE_BAND = ("sensitivity", "specificity", "accuracy")
"""Metrics that are also given for the images outside the indeterminate band."""

METRICS_OF_SLICES = ("roc_auc", "sensitivity", "specificity")

OTHER_PARAMETERS = ("kind", "image_size", "calibration", "operating_point.", "split.")
"""Prefixes of the parameters that have a row of their own or do not concern architecture and training."""

PHANTOM = """\
> **A phantom model: its figures do not apply to patients.** It was trained and evaluated on drawn radiographs.
"""

INTENDED = """\
## Intended use

{use}

**Users:** {users}.

**Not for:**

- diagnosis, triage, screening or any other decision about a patient; no regulator has assessed it;
- {others}
- images in other projections, of other parts of the body, or photographs of a screen;
- distinguishing bacterial from viral pneumonia, or detecting any other disease: it has two classes, and NORMAL only
  means that it detects no pneumonia;
- using its probabilities unchanged where the prevalence of pneumonia differs from that of its images.
"""

PHANTOM_USE = "Trying out and testing the pipeline without radiographs"
RESEARCH_USE = (
    "Research and teaching: a documented baseline on its dataset, and an example of how a model is evaluated. Its "
    "predictions may be compared with those of readers and other models, retrospectively, on images with a known "
    "diagnosis"
)

OTHERS = {
    "phantom": "radiographs of any kind;",
    "kermany": "adults, infants, adolescents, and children of other hospitals, unless it has been validated there;",
}
ANY_OTHERS = "people and hospitals other than those of its training images, unless it has been validated there;"
"""Populations that the model is not for, by source and for any other source."""

SUBSET_MEANINGS = {
    "validation": "patients held out of the development images. Calibration, operating point and band were chosen on "
    "these and the aspect-swapped images, and training may have been stopped by these, so metrics on both are "
    "optimistic.",
    ASPECT_SWAPPED: "the same validation images, those of each class cropped to the aspect ratio that is typical of "
    "the other class. In data like these the aspect ratio is associated with the class; here the association is "
    "reversed, which lowers the metrics of a model that relies on it.",
    "test": "{test}. The pipeline chooses nothing on it.",
}

KERMANY_LIMITS = """\
- One hospital (Guangzhou Women and Children's Medical Center), one age group (one to five years), anterior-posterior
  view. The labels come from reading the radiograph itself, not from a culture or the course of the disease.
- The test set has been public since 2018, and the developers of this pipeline have seen results on it. It is therefore
  not fully independent, although nothing is chosen on it.
"""

ANY_LIMITS = """\
- No external validation: the test images come from the same source as the training images.
- Two classes. Images with other diseases, with devices or of poor quality were not evaluated separately.
- {prevalence:.0%} of the test images are {positive}, far more than in most clinics. Use the predictive values for your
  own prevalence; sensitivity and specificity also change with another mix of patients.
- The intervals describe the uncertainty from sampling patients. They do not include differences between hospitals or
  between training runs.
- Age, sex and origin of the patients are not recorded per image, so fairness between such groups is unknown.
"""

REPRODUCE = """\
## Reproducing

With the code of the commit that holds this page, and the data of the hash above:

```console
{command}
```

This page is generated from the bundle, its evaluation report, the shortcut audits and the comparison. Figures have
three decimals here and six in the reports.
"""
