"""benchmarks/RESULTS.md: a section per benchmark, each written by its own command."""

import re
from pathlib import Path

FILE = Path(__file__).with_name("RESULTS.md")


def write(title: str, text: str) -> str:
    """Replace the section of a title, or add it at the end; return the section."""
    section = f"## {title}\n\n{text.strip()}\n"
    before = FILE.read_text(encoding="utf-8") if FILE.exists() else "# Benchmarks\n"
    of_this_title = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    after, found = of_this_title.subn(lambda _: f"{section}\n", before)
    if not found:
        after = f"{before.rstrip()}\n\n{section}"
    FILE.write_text(f"{after.rstrip()}\n", encoding="utf-8")
    return section
