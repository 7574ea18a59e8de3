"""The pipeline around the library: stages of dvc.yaml, Kubeflow, and the tools for demo, release and pull requests.

Importing this package sets the environment of stages. It affects speed and log output, not results; values set by the
user stay.
"""

import ctypes
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's messages hide the progress
os.environ.setdefault("MPLBACKEND", "agg")

if sys.platform == "linux":
    # Keep freed memory in the process, in one heap. By default glibc returns large freed tensors to the system and
    # requests them again at every step; on virtual machines training then spends half its time on page faults.
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # of glibc's malloc.h
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 2**28)
