"""The MLflow UI of a project, on localhost."""

import os
import subprocess
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

from pneumonia.core.errors import TrackingError
from pneumonia.registry.tracking import open_store

SECONDS_UNTIL_UI_ANSWERS = 8


def serve_ui(root: Path, *, port: int, open_browser: bool) -> None:
    """Serve the MLflow UI of a store on localhost until interrupted, and print the address of its runs.

    Args:
        root: project whose ``mlruns/`` is shown; with ``MLFLOW_TRACKING_URI`` set, that store instead.
        port: on 127.0.0.1.
        open_browser: also open the page of the runs.

    Raises:
        TrackingError: the store cannot be opened or the port is taken.
    """
    store = open_store(root)
    page = f"http://127.0.0.1:{port}/#/experiments/{store.experiment_id}/runs"
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    server += ["--backend-store-uri", store.uri]
    print(f"Runs: {page}   (Ctrl-C to stop)", flush=True)
    opener = threading.Timer(SECONDS_UNTIL_UI_ANSWERS, webbrowser.open, [page])
    opener.daemon = True
    if open_browser:
        opener.start()
    with suppress(KeyboardInterrupt):
        # Jobs serve evaluations with language models; without them the server starts in half the time.
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        code = subprocess.run(server, env=environment, check=False).returncode
        if code:
            raise TrackingError(f"the MLflow UI ended with status {code}. Is port {port} taken? Try another --port.")
