"""A test server for the part of Kubeflow Pipelines' API (v2beta1) that starts and follows runs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PREFIX = "/apis/v2beta1"
RUN = "0c1d"
EXPERIMENT = {"experiment_id": "e1", "display_name": "pneumonia"}
TOKEN = "a-token"


@dataclass
class Kubeflow:
    """State of the test server.

    Attributes:
        url: its address.
        requires_token: whether it refuses requests without `TOKEN`.
        submitted: bodies of the requests that start a run.
        states: responses to successive requests for the run; the last one is repeated.
    """

    url: str = ""
    requires_token: bool = False
    submitted: list[dict[str, Any]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)


def run(state: str, message: str = "", **tasks: tuple[str, str]) -> dict[str, Any]:
    """Return a run whose tasks have a state and an error message each."""
    details = [
        {
            "task_id": name,
            "display_name": name,
            "state": state,
            "error": {"code": 1, "message": text} if text else None,
        }
        for name, (state, text) in tasks.items()
    ]
    error = {"code": 1, "message": message} if message else None
    return {"run_id": RUN, "state": state, "error": error, "run_details": {"task_details": details}}


@contextmanager
def served() -> Iterator[Kubeflow]:
    """Serve the API on a free port of this machine."""
    kubeflow = Kubeflow()

    class Api(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urlsplit(self.path).path.removeprefix(PREFIX)
            if kubeflow.requires_token and self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.answer({"error": "login required"}, 401)
            elif path == "/healthz":
                self.answer({"multi_user": False})
            elif path == "/experiments":
                self.answer({"experiments": [EXPERIMENT], "total_size": 1})
            elif path == f"/runs/{RUN}":
                self.answer(kubeflow.states.pop(0) if len(kubeflow.states) > 1 else kubeflow.states[0])
            else:
                self.answer({"error": f"nothing at {path}"}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if urlsplit(self.path).path != f"{PREFIX}/runs":
                self.answer({"error": f"nothing at {self.path}"}, 404)
                return
            kubeflow.submitted.append(body)
            self.answer({"run_id": RUN, "display_name": body["display_name"]})

        def answer(self, content: object, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    kubeflow.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kubeflow
    server.shutdown()
    server.server_close()
