# Two images from one file. The command of a container selects what it runs; docs/deploy.md has the build commands.
#   docker build --target serve .     the application and the MLflow server: no TensorFlow, no DVC
#   docker build --target pipeline .  the stages on Kubeflow, training by several workers, and the monitoring job
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
RUN python -m pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY pyproject.toml requirements.lock README.md ./
COPY src/ src/
# Editable, because the application looks for release/, params.yaml and operations.yaml beside its code, and pods of the
# pipeline copy the code out of /app.
ENV INSTALL="uv pip install --python /opt/venv/bin/python --no-cache"
ENV INSTALL_LOCKED="${INSTALL} --compile-bytecode --require-hashes --constraints requirements.lock --requirements pyproject.toml"
RUN python -m venv --without-pip /opt/venv

FROM builder AS builder-serve
RUN ${INSTALL_LOCKED} --extra registry --extra postgres \
    && ${INSTALL} --no-deps --editable . \
    && python -m compileall -q src

FROM builder AS builder-pipeline
RUN ${INSTALL_LOCKED} --extra all \
    && ${INSTALL} --no-deps --editable . \
    && python -m compileall -q src

FROM ${PYTHON_IMAGE} AS base
# Files are written to /tmp and to volumes only, so that the root file system can be read-only.
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
WORKDIR /app
COPY pyproject.toml params.yaml operations.yaml ./

FROM base AS pipeline
# Git names the commit that a training runs on; without a repository there is no commit, and training runs nevertheless.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
COPY --from=builder-pipeline /opt/venv /opt/venv
COPY --from=builder-pipeline /app/src src/
COPY dvc.yaml data.dvc .dvcignore ./
COPY data/ data/
COPY pipeline/ pipeline/
COPY release/ release/
USER 10001:10001

FROM base AS serve
COPY --from=builder-serve /opt/venv /opt/venv
COPY --from=builder-serve /app/src src/
COPY release/ release/
USER 10001:10001
EXPOSE 8000
# For Docker alone; Kubernetes has its own probes. Other commands than `serve` switch it off (--no-healthcheck).
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["pneumonia", "serve", "--host", "0.0.0.0", "--state", "/state", "--key-file", "/access/keys.txt", "--password-file", "/access/password.txt"]
