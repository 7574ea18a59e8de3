"""The API conforms to its OpenAPI document, for valid and for invalid requests."""

from collections.abc import Callable
from contextlib import suppress

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from pneumonia.serving.settings import RequestLimits
from tests.unit.serving.conftest import BASE_URL, send

FIRST = 'pneumonia_requests_total{method="POST",route="/api/v1/predictions",status="'


def test_every_route_conforms_to_the_document(open_app: Callable[..., TestClient], radiograph: bytes) -> None:
    client = open_app(limits=RequestLimits(requests_per_minute=10**9))
    send(client, ("1.png", radiograph))
    document = client.get("/api/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.app = client.app
    for operation in (result.ok() for result in schema.get_all_operations()):
        for mode in GenerationMode:  # valid and invalid requests

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
            def conforms(case: schemathesis.Case) -> None:
                case.call_and_validate(base_url=BASE_URL, session=client)

            with suppress(Unsatisfiable):  # a route without parameters has no invalid requests
                conforms()
    counted = client.get("/metrics").text
    assert FIRST + "200" in counted
    assert FIRST + "4" in counted
