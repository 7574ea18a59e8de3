"""Settings of image decoding."""

from typing import Annotated

from pydantic import Field

from pneumonia.core.settings import Section


class PrepareParams(Section):
    """Section ``prepare``: images are decoded to ``size`` by ``size`` pixels."""

    size: Annotated[int, Field(ge=32, le=1024)]
