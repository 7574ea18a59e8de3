"""Processes whose clock is set apart from that of the machine."""

from pathlib import Path

LIBRARIES = "*/faketime/libfaketimeMT.so.1"


def environment(days: int) -> dict[str, str]:
    """Return environment variables that move the clock of a process by a number of days (needs Debian's faketime)."""
    (library,) = Path("/usr/lib").glob(LIBRARIES)
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{days:+d}d"}
