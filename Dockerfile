# The service, with the bundles that ship.
#   docker build -t figment .                          for NVIDIA GPUs (run with --gpus all)
#   docker build -t figment --build-arg DEVICE=cpu .   small, for any machine
#   --build-arg REMOTE=1 adds the packages for bundles in buckets and on the Hugging Face Hub (s3://, gs://, az://, hf://)
# The GPU build needs no CUDA base image: Python packages install the CUDA and cuDNN libraries of ONNX Runtime.
# Name what is built, for the image's labels: --build-arg VERSION=… REVISION=$(git rev-parse HEAD) SOURCE=https://…

FROM python:3.11-slim-bookworm AS packages
ARG DEVICE=gpu
ARG REMOTE=
ARG VERSION=unknown
# For `strip`; this stage is not shipped.
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY serving/lock-*.txt deploy/inventory.py /build/
# The inventory lists what is installed, so it comes before pip goes. Nothing reads tests, type stubs, Cython's sources, and
# ONNX Runtime's library for C programs: its Python module has a copy of its own. numpy.testing imports from NumPy's core
# tests. Symbol tables are 20 MB of Python's extension modules. Libraries in *.libs have been patched, and stay as they are.
RUN python -m venv /opt/figment \
 && /opt/figment/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check \
    --require-hashes -r "/build/lock-${DEVICE}.txt" \
 && if [ -n "${REMOTE}" ]; then /opt/figment/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check \
    --require-hashes -r /build/lock-remote.txt; fi \
 && mkdir /opt/figment/inventory \
 && /opt/figment/bin/python /build/inventory.py /opt/figment/inventory "${VERSION}" \
 && /opt/figment/bin/pip uninstall --yes --quiet pip setuptools \
 && find /opt/figment -type d \( -name __pycache__ -o -name tests -o -name test \) -not -path '*/numpy/_core/*' \
    -prune -exec rm -rf {} + \
 && find /opt/figment \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -path '*/numpy/_core/tests/data/*' \) -delete \
 && find /opt/figment -name '*.cpython-*.so' -exec strip --strip-unneeded {} + \
 && if [ "${DEVICE}" = cpu ]; then find /opt/figment -name 'libonnxruntime.so.*' -delete; fi

FROM python:3.11-slim-bookworm
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Figment" \
      org.opencontainers.image.description="Images from tuned GAN generators" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin figment
COPY --from=packages /opt/figment /opt/figment
WORKDIR /srv/figment
COPY LICENSE bentofile.yaml ./
COPY models ./models
COPY serving ./serving
COPY deploy/image/* /usr/local/bin/
# Starts the service once, as a test, and keeps the bytecode: a start that has to compile takes twice the time.
RUN --mount=type=bind,source=deploy/bytecode.py,target=/tmp/bytecode.py \
    BENTOML_HOME=/tmp/bentoml BENTOML_DO_NOT_TRACK=True /opt/figment/bin/python /tmp/bytecode.py && rm -rf /tmp/bentoml*

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
