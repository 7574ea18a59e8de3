"""Base of all reports and records that are exchanged as JSON."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """An immutable record; unknown fields are errors, so that a report of another version is never read in part."""

    model_config = ConfigDict(frozen=True, extra="forbid")
