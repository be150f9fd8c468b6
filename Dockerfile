# One image for every role: the command decides which one a container is.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 \
    OBM_DATA_DIR=/data

WORKDIR /app

# First what seldom changes: the pinned dependencies.
COPY requirements.lock ./
RUN python -m pip install -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY batching ./batching
COPY clients ./clients
COPY dashboards ./dashboards
COPY deployments ./deployments
COPY flows ./flows
COPY receivers ./receivers
COPY simulator ./simulator
COPY storage ./storage
COPY tasks ./tasks
COPY examples ./examples
RUN python -m pip install --no-deps --no-build-isolation -e . \
    && python -m compileall -q batching clients dashboards deployments flows receivers simulator storage tasks

# A new volume takes its owner from this folder. With a folder of the host instead of a volume,
# build with its owner's numbers: --build-arg UID=$(id -u) --build-arg GID=$(id -g)
ARG UID=1000
ARG GID=1000
RUN groupadd --gid "$GID" obm \
    && useradd --uid "$UID" --gid "$GID" --create-home obm \
    && mkdir /data \
    && chown obm:obm /data
USER obm
WORKDIR /data
VOLUME /data

# Without other roles around it, a container runs everything.
CMD ["obm", "up"]
