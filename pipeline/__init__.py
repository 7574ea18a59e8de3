"""The entry points of the pipeline, one thin module per stage of dvc.yaml.

Importing this package sets the environment that all stages run in; what the user has set stays.
"""

import ctypes
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own chatter hides the progress
os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")  # the same seed gives the same model
os.environ.setdefault("MPLBACKEND", "agg")

if sys.platform == "linux":
    # Memory once used stays with the process, in one heap. By default glibc hands large freed tensors back to the
    # system and asks for them anew at every step; on virtual machines training then spends half its time on page
    # faults.
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # of glibc's malloc.h
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 2**28)
