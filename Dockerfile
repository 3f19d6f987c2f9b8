# The service without TensorFlow, and, as the target `full`, with it. The classic builder and BuildKit both build it.
#
#   docker build -t mobilenet-service .
#   docker build -t mobilenet-service:full --target full .
#   docker build -t mobilenet-batch --target batch .
#   docker build -t mobilenet-service:grpc --build-arg EXTRAS=grpc .
#   docker build -t mobilenet-service:imagenet --build-arg WEIGHTS=imagenet --build-arg VARIANTS="0.5@160 1@224" .
#   docker build -t mobilenet-service:openvino --build-arg EXTRAS=openvino .

ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/mobilenet \
    PYTHONUNBUFFERED=1 \
    MOBILENET_CACHE=/var/cache/mobilenet \
    MOBILENET_HOST=0.0.0.0
RUN groupadd --system --gid 10001 mobilenet \
    && useradd --system --no-log-init --uid 10001 --gid 10001 --home-dir /tmp --shell /usr/sbin/nologin mobilenet \
    && install --directory --owner mobilenet --group mobilenet "$MOBILENET_CACHE"
WORKDIR /opt/mobilenet
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-m", "app.healthcheck"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="MobileNet service" \
      org.opencontainers.image.description="MobileNetV1 image classification over REST, honest about its cost" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"

# The packages, pinned by constraints.txt: a layer that changes with the pins and not with the code.
FROM base AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
COPY constraints.txt pyproject.toml /build/
# Extras of pyproject.toml, several with spaces between: `grpc`, `openvino` (the other engine), `otel` (spans).
ARG EXTRAS=
RUN python -c "import sys, tomllib; project = tomllib.load(open('/build/pyproject.toml', 'rb'))['project']; \
        print(*project['dependencies'], *sum([project['optional-dependencies'][name] for name in sys.argv[1:]], []), sep='\n')" \
        $EXTRAS > /build/requirements.txt \
    && pip --python /opt/venv install --quiet --requirement /build/requirements.txt --constraint /build/constraints.txt
# What serving on a CPU never loads, a fifth of the whole, and what only debuggers read. Not every platform has all of it;
# libraries that wheels bring in folders `*.libs` were rewritten, and do not bear it.
RUN cd /opt/venv/lib/python3*/site-packages \
    && rm -rf ai_edge_litert/libLiteRtWebGpuAccelerator.so ai_edge_litert/tools ai_edge_litert/vendors \
        openvino/libs/libopenvino_intel_[gn]pu_plugin.so openvino/libs/cache.json openvino/include openvino/cmake \
        openvino/tools openvino_telemetry \
    && for format in gguf jax onnx paddle pytorch tensorflow; do rm -f openvino/libs/libopenvino_${format}_frontend.so*; done \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && apt-get update -qq && apt-get install -qq --no-install-recommends binutils > /dev/null \
    && find . -name '*.so*' -type f -not -path '*.libs/*' -exec strip --strip-unneeded {} +

# Compiles: the bundled weights here, any others into the volume of whoever runs it.
FROM dependencies AS compiler
RUN python -c "import tomllib; print(*tomllib.load(open('/build/pyproject.toml', 'rb'))['project']['optional-dependencies']['tensorflow'], sep='\n')" \
        > /build/requirements.txt \
    && pip --python /opt/venv install --quiet --requirement /build/requirements.txt --constraint /build/constraints.txt
COPY LICENSE ./
COPY model_weights model_weights
COPY app app
RUN python -m compileall -q app
USER 10001:10001
# What the service has compiled in float32: α@resolution, several with spaces between. One model of the bundled weights
# serves every resolution of an α. Bundled int8 needs no compiling.
ARG WEIGHTS=imagenette
ARG VARIANTS=0.5@160
RUN set -e; export MOBILENET_WEIGHTS=$WEIGHTS; for variant in $VARIANTS; do \
        MOBILENET_ALPHA=${variant%@*} MOBILENET_RESOLUTION=${variant#*@} python -m app compile; \
    done

# With Ray, whose jobs KubeRay starts.
FROM dependencies AS cluster
RUN python -c "import tomllib; print(*tomllib.load(open('/build/pyproject.toml', 'rb'))['project']['optional-dependencies']['cluster'], sep='\n')" \
        > /build/requirements.txt \
    && pip --python /opt/venv install --quiet --requirement /build/requirements.txt --constraint /build/constraints.txt

# Who compiles nothing needs no Keras weights: what they were compiled to is there.
FROM compiler AS pruned
USER root
RUN rm model_weights/*.weights.h5

# All that the service has beside its packages. It is the same for every processor: docs/deployment.md, "Other processors".
FROM scratch AS compiled
COPY --from=pruned /opt/mobilenet /opt/mobilenet
COPY --from=pruned /var/cache/mobilenet /var/cache/mobilenet

# The revision comes last, so that a new one makes no other layer anew.
FROM compiler AS full
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="$REVISION"

# Classifies millions of photos, as the head and as the workers of a cluster of Ray: deploy/ray/job.yaml.
FROM base AS batch
ENV OPENBLAS_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
# With wget KubeRay asks whether a node is alive.
RUN apt-get update -qq && apt-get install -qq --no-install-recommends wget > /dev/null && rm -r /var/lib/apt/lists/*
COPY --from=cluster /opt/venv /opt/venv
COPY --from=compiled /opt/mobilenet ./
COPY --from=compiled /var/cache/mobilenet /var/cache/mobilenet
HEALTHCHECK NONE
USER 10001:10001
CMD ["batch", "--help"]
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="$REVISION"

FROM base AS service
# Threads of numpy's linear algebra would do nothing here, and count for the limit of processes.
ENV OPENBLAS_NUM_THREADS=1
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=compiled /opt/mobilenet ./
COPY --from=compiled /var/cache/mobilenet /var/cache/mobilenet
USER 10001:10001
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="$REVISION"
