"""How much faster training is when the process keeps freed memory, as `pipeline/__init__.py` asks glibc to.

Alternates fresh processes with and without the setting on the same work, and writes RESULTS.md:

    python -m benchmarks.allocator
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
ROUNDS = 3
IMAGES = 512
BATCH = 32
SETTINGS = {"as glibc does it": "", "kept": "import pipeline; "}


def images_per_second() -> float:
    """Fit MobileNetV2 (0.35, 224 px) on augmented noise for an epoch, after one that does not count."""
    import keras
    import numpy as np

    from pneumonia.config import AugmentParams, FinetuneParams
    from pneumonia.models import architectures
    from pneumonia.models.augment import AugmentedBatches

    params = FinetuneParams.model_construct(
        backbone="MobileNetV2", backbone_options={"alpha": 0.35}, weights="random", train_batch_norm=False
    )
    model = architectures.finetune(params, 224)
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 224, 224)).astype(np.uint8)
    targets = (np.arange(IMAGES) % 2).astype(np.float32)
    batches = AugmentedBatches(pixels, targets, batch_size=BATCH, params=AugmentParams(), seed=0, first_epoch=0)
    model.fit(batches, epochs=1, steps_per_epoch=3, verbose=0)
    start = time.perf_counter()
    model.fit(batches, epochs=1, verbose=0)
    return IMAGES / (time.perf_counter() - start)


def main() -> None:
    """Measure both settings in turn and write the medians and their ratio."""
    speeds: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
    for _ in range(ROUNDS):
        for setting, prelude in SETTINGS.items():
            speeds[setting].append(_in_fresh_process(prelude))
    default, kept = (statistics.median(values) for values in speeds.values())
    RESULTS.write_text(
        "# Benchmarks\n\nEach figure with the command that measures it, on the machine of its last run.\n\n"
        "## Training with freed memory kept in the process\n\n"
        f"`python -m benchmarks.allocator`: MobileNetV2 (0.35) at 224 pixels, batch {BATCH}, {os.cpu_count()} cores, "
        f"medians of {ROUNDS} fresh processes each, in turn.\n\n"
        "| freed memory | images/s | ratio |\n| --- | --- | --- |\n"
        f"| as glibc does it | {default:.1f} | 1.00 |\n| kept | {kept:.1f} | {kept / default:.2f} |\n",
        encoding="utf-8",
    )
    print(RESULTS.read_text(encoding="utf-8"))


def _in_fresh_process(prelude: str) -> float:
    script = f"{prelude}from benchmarks import allocator; print('SPEED', allocator.images_per_second())"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_DETERMINISTIC_OPS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout.split("SPEED")[1])


if __name__ == "__main__":
    main()
