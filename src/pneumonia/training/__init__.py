"""Training: architectures, augmentation, recipes. The same images, recipe and seed give the same weights.

Importing this package asks TensorFlow for deterministic operations; it must precede the first import of TensorFlow.
"""

import os

os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
