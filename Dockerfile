# The service, with the bundles that ship.
#   docker build -t figment .                          for NVIDIA GPUs (run with --gpus all)
#   docker build -t figment --build-arg DEVICE=cpu .   small, for any machine
# The GPU build needs no CUDA base image: Python packages install the CUDA and cuDNN libraries of ONNX Runtime.

FROM python:3.11-slim-bookworm AS packages
ARG DEVICE=gpu
COPY constraints.txt /build/
COPY serving/requirements*.txt /build/serving/
RUN python -m venv /opt/figment \
 && /opt/figment/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check \
    -c /build/constraints.txt -r "/build/serving/requirements-${DEVICE}.txt" \
 && /opt/figment/bin/pip uninstall --yes --quiet pip setuptools \
 && find /opt/figment -name __pycache__ -prune -exec rm -rf {} +

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin figment
COPY --from=packages /opt/figment /opt/figment
WORKDIR /srv/figment
COPY bentofile.yaml ./
COPY models ./models
COPY serving ./serving
COPY deploy/image/* /usr/local/bin/

# All writes go to /tmp: the rest of the file system can be read-only.
# BENTOML_CONTAINERIZED: a container ends when its worker dies, so that its orchestrator restarts it.
ENV PATH=/opt/figment/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_CONTAINERIZED=true \
    BENTOML_DO_NOT_TRACK=True \
    FIGMENT_LOG_FORMAT=json

USER 10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request; \
        port = os.environ.get('AIP_HTTP_PORT') or os.environ.get('PORT') or 3000; \
        urllib.request.urlopen(f'http://127.0.0.1:{port}/livez', timeout=2)"]
# PORT and AIP_HTTP_PORT choose another port. SageMaker replaces this command by `serve`.
CMD ["start"]
