"""The API does what its OpenAPI document says, for whatever the document allows and for much that it does not."""

from collections.abc import Callable
from contextlib import suppress

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from pneumonia.app.settings import Limits
from tests.app.conftest import BASE_URL, send

FIRST = 'pneumonia_requests_total{method="POST",route="/api/v1/predictions",status="'


def test_every_route_keeps_to_its_description(open_app: Callable[..., TestClient], radiograph: bytes) -> None:
    client = open_app(limits=Limits(requests_per_minute=10**9))
    send(client, ("1.png", radiograph))
    document = client.get("/api/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.app = client.app
    for operation in (found.ok() for found in schema.get_all_operations()):
        for mode in GenerationMode:  # what the document allows, and what it does not

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
            def keeps(case: schemathesis.Case) -> None:
                case.call_and_validate(base_url=BASE_URL, session=client)

            with suppress(Unsatisfiable):  # a route without parameters allows everything
                keeps()
    counted = client.get("/metrics").text
    assert FIRST + "200" in counted
    assert FIRST + "4" in counted
