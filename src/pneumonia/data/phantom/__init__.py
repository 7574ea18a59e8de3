"""Phantoms: drawn chest radiographs with known lungs and lesions, and datasets of them with planted faults.

They let the pipeline, its demo and its tests run anywhere, and they are ground truth for explanations, leakage checks,
the shortcut audit and drift. They are drawings: results of a model trained on phantoms do not apply to patients.
"""

from pneumonia.data.phantom.anatomy import Anatomy
from pneumonia.data.phantom.dataset import Case, plan, write
from pneumonia.data.phantom.radiograph import PLAIN, Film, Phantom, draw

__all__ = ["PLAIN", "Anatomy", "Case", "Film", "Phantom", "draw", "plan", "write"]
