# syntax=docker/dockerfile:1
# The voice-cloning server.
#
#     docker build -t csm-server .                 for NVIDIA GPUs; it also runs on CPUs
#     docker build -t csm-server --target cpu .    for CPUs: 5 GB smaller
#
# Where a platform cannot choose a target, the build argument VARIANT=cpu does.
ARG VARIANT=cuda

FROM python:3.12-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH
WORKDIR /app

# The versions in the lock file, with their hashes checked.
FROM base AS cuda-packages
COPY requirements.lock ./
RUN python -m venv /opt/venv \
    && pip install --require-hashes -r requirements.lock \
    && python -c 'import torch, torchaudio'

# The same versions, but torch and torchaudio, both, from the index of CPU wheels. Hashes are not checked, because the
# files of that index differ from those in the lock file.
FROM base AS cpu-packages
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt requirements.lock ./
RUN python -m venv /opt/venv \
    && grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements.lock > pins.txt \
    && grep -E '^torch(audio)?==' pins.txt > torch.txt \
    && pip install --index-url "$TORCH_INDEX" -r torch.txt \
    && pip install -c pins.txt -r requirements.txt \
    && python -c 'import torch, torchaudio'

FROM base AS server
# The server writes only below /data, so the rest may be read-only. Mount a named volume there. There is no VOLUME line,
# because it would create an anonymous volume that is lost with the container, and some platforms reject it.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin csm \
    && install -d -o csm -g csm /data
ENV HF_HOME=/data/huggingface \
    CSM_CACHE_DIR=/data/csm \
    TORCHINDUCTOR_CACHE_DIR=/data/inductor \
    TRITON_CACHE_DIR=/data/triton \
    XDG_CACHE_HOME=/data/cache \
    CSM_HOST=0.0.0.0
COPY LICENSE sesame_server.py ./
COPY csm/ csm/
EXPOSE 5000
STOPSIGNAL SIGTERM
# The first start downloads 7.15 GB, so failures count only after the server has been ready once, or after half an hour.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30m --start-interval=5s --retries=3 \
    CMD ["python", "-c", "import urllib.request; from csm.settings import load; urllib.request.urlopen(f'http://127.0.0.1:{load(None).port}/health/ready', timeout=4)"]
CMD ["python", "sesame_server.py"]

FROM server AS cpu
COPY --from=cpu-packages /opt/venv /opt/venv
USER 10001:10001

FROM server AS cuda
# Triton compiles its kernel launchers with the system's C compiler when the model is loaded on a GPU.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=cuda-packages /opt/venv /opt/venv
USER 10001:10001

# hadolint ignore=DL3006
FROM ${VARIANT}
