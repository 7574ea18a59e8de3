"""The entry points of the pipeline, one thin module per stage of dvc.yaml.

Importing this package sets the environment that all stages run in; what the user has set stays.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own chatter hides the progress
os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")  # the same seed gives the same model
os.environ.setdefault("MPLBACKEND", "agg")
