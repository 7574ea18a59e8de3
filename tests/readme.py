"""What the README promises, read from it, for the tests that try it."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs/promotion.md"

NEEDS_ANOTHER_MACHINE = {
    "make repro": "trains on the real radiographs for some twenty minutes",
    "make release": "trains on the real radiographs for most of an hour",
    "dvc remote add --default storage s3://bucket/pneumonia": "needs a bucket; a local remote is tested in its place",
    "dvc push": "tested with a local remote",
    "dvc pull": "tested with a local remote",
}
"""Commands that no test runs as they stand, and why."""


def blocks(language: str, page: Path = ROOT / "README.md") -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def console_lines() -> list[str]:
    """The README's shell commands in their order."""
    return [line.strip() for block in blocks("console") for line in block.splitlines() if line.strip()]
