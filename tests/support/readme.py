"""Commands and code blocks of README and guides, for the tests that run them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/promotion.md"

NEEDS_ANOTHER_MACHINE = {
    "make repro": "trains on the real radiographs for about twenty minutes",
    "make release": "trains on the real radiographs for most of an hour",
    "dvc remote add --default storage s3://bucket/pneumonia": "needs a bucket; tested with a local remote",
    "dvc push": "tested with a local remote",
    "dvc pull": "tested with a local remote",
}
"""Commands that no test runs as written, and why."""


def blocks(language: str, page: Path = ROOT / "README.md") -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def console_lines() -> list[str]:
    """Return the shell commands of the README in their order."""
    return [line.strip() for block in blocks("console") for line in block.splitlines() if line.strip()]
