"""Sections of benchmarks/RESULTS.md, one per benchmark."""

import re
from pathlib import Path

FILE = Path(__file__).with_name("RESULTS.md")


def write(title: str, text: str) -> str:
    """Write a section: replace the one with this title, or add it at the end. Return the section."""
    section = f"## {title}\n\n{text.strip()}\n"
    before = FILE.read_text(encoding="utf-8") if FILE.exists() else "# Benchmarks\n"
    section_of_title = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    after, replaced = section_of_title.subn(lambda _: f"{section}\n", before)
    if not replaced:
        after = f"{before.rstrip()}\n\n{section}"
    FILE.write_text(f"{after.rstrip()}\n", encoding="utf-8")
    return section
