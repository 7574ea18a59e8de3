"""Print a bundle's answers for the golden images, as JSON, in a process that has nothing else loaded.

python -m pneumonia.inference.golden_answers BUNDLE
"""

import json
import sys
from pathlib import Path

from pneumonia.bundle import bundle as bundles
from pneumonia.core.errors import PneumoniaError
from pneumonia.inference.network import Network
from pneumonia.inference.runtime import Runtime


def answers(folder: Path) -> dict[str, float]:
    """Return the calibrated probability of each golden image, by file name.

    They are not compared with the pinned ones, as `Runtime.load` does; the caller does that.

    Raises:
        BundleError: the folder is not a complete bundle.
    """
    bundle = bundles.read(folder)
    return Runtime(bundle, Network(bundle.graph_file)).golden_answers()


if __name__ == "__main__":
    try:
        print(json.dumps(answers(Path(sys.argv[1]))))
    except PneumoniaError as error:
        sys.exit(f"error: {error}")
