# One image for the components of the pipeline, the application, the MLflow server and the monitoring job: what it does
# is the command that it is given. docs/deploy.md says how to build it and how to pin the base by digest.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
RUN python -m pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY requirements-runtime.lock ./
RUN python -m venv --without-pip /opt/venv \
    && uv pip install --python /opt/venv/bin/python --no-cache --compile-bytecode --require-hashes --requirements requirements-runtime.lock
COPY pyproject.toml README.md ./
COPY src/ src/
# Editable: pods copy the code out of /app, and the application finds release/ and params.yaml beside it.
RUN uv pip install --python /opt/venv/bin/python --no-cache --no-deps --editable . \
    && python -m compileall -q src

FROM ${PYTHON_IMAGE} AS runtime
# Nothing is written but to /tmp and to volumes, so that the root file system can be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    GIT_PYTHON_REFRESH=quiet \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    DVC_NO_ANALYTICS=true \
    ORT_DISABLE_TELEMETRY=1
# Training asks git which commit it runs on, and goes on where it is told none.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app/src src/
COPY pyproject.toml params.yaml dvc.yaml data.dvc .dvcignore ./
COPY data/ data/
COPY pipeline/ pipeline/
COPY release/ release/
USER 10001:10001
EXPOSE 8000
# For Docker alone; Kubernetes has probes of its own. Other commands than `serve` switch it off (--no-healthcheck).
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["pneumonia", "serve", "--host", "0.0.0.0", "--state", "/state", "--key-file", "/access/keys.txt", "--password-file", "/access/password.txt"]
