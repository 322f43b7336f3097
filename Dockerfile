# syntax=docker/dockerfile:1
# The image of every step of the pipeline on Kubeflow, and of Beam's workers where its engine is a cluster.
#
#   docker build --tag REGISTRY/mtmh:VERSION .
#
# For a trainer with GPUs add --build-arg CUDA=1: NVIDIA's libraries for this TensorFlow, 3 GB more.

FROM python:3.10-slim-bookworm AS build

# pyfarmhash and crcmod come as source alone.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /build
ENV PYTHONDONTWRITEBYTECODE=
COPY requirements.lock ./
# uv as the lock pins it, with its hashes; it installs the rest likewise. Without bytecode `import tfx` takes 40 s.
RUN awk '/^[^ #]/ { uv = /^uv==/ } uv' requirements.lock > uv.txt \
 && python -m venv /opt/uv \
 && /opt/uv/bin/pip install --quiet --no-cache-dir --require-hashes --no-deps --requirement uv.txt \
 && /opt/uv/bin/uv venv --no-project --python python3.10 /opt/mtmh \
 && /opt/uv/bin/uv pip sync --no-cache --python /opt/mtmh/bin/python --require-hashes --compile-bytecode requirements.lock

ARG CUDA=
RUN if [ -n "$CUDA" ]; then \
      /opt/uv/bin/uv pip install --no-cache --python /opt/mtmh/bin/python "tensorflow[and-cuda]==2.16.2"; \
    fi

COPY setup.py pyproject.toml README.md ./
COPY preprocessing preprocessing
COPY trainer trainer
COPY serving serving
COPY tfx_pipeline tfx_pipeline
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/mtmh/bin/python --no-deps --no-build-isolation --compile-bytecode .

FROM python:3.10-slim-bookworm

# Beam's worker, for Dataflow and for the worker pools of Flink and Spark.
COPY --from=apache/beam_python3.10_sdk:2.74.0 /opt/apache/beam /opt/apache/beam
COPY --from=build /opt/mtmh /opt/mtmh

# Not root, and with a number of its own, as `runAsNonRoot` of a cluster asks for.
RUN useradd --uid 10001 --create-home mtmh
USER 10001
WORKDIR /home/mtmh
ENV PATH=/opt/mtmh/bin:$PATH \
    TF_USE_LEGACY_KERAS=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    TF_ENABLE_ONEDNN_OPTS=0 \
    PYTHONUNBUFFERED=1

ENTRYPOINT ["python", "-m", "tfx_pipeline.kubeflow_executor"]
