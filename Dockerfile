# syntax=docker/dockerfile:1
# The voice-cloning server: docker build -t csm-server .
# A CPU image is 5 GB smaller: add --build-arg TORCH_INDEX=<address of PyTorch's CPU wheel index>.
FROM python:3.12-slim-bookworm

ARG TORCH_INDEX=""

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# Triton compiles its kernel launchers with the system's C compiler when the model is loaded on a GPU.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app

# Installs the versions in the lock file and checks their hashes. torch and torchaudio must come from one index, so with
# TORCH_INDEX both are installed first, then the rest in the locked versions. Hashes are not checked in that case, because
# the files of that index differ from those in the lock file.
COPY requirements.txt requirements.lock ./
RUN if [ -n "$TORCH_INDEX" ]; then \
        grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements.lock > pins.txt \
        && grep -E '^torch(audio)?==' pins.txt > torch.txt \
        && pip install --index-url "$TORCH_INDEX" -r torch.txt \
        && pip install -c pins.txt -r requirements.txt \
        && rm pins.txt torch.txt; \
    else \
        pip install --require-hashes -r requirements.lock; \
    fi \
    && python -c 'import torch, torchaudio'

COPY LICENSE sesame_server.py ./
COPY csm/ csm/

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
USER 10001:10001

EXPOSE 5000
STOPSIGNAL SIGTERM

# The first start downloads 7.15 GB, so failures count only after the server has been ready once, or after half an hour.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30m --start-interval=5s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + (os.environ.get('CSM_PORT') or os.environ.get('PORT') or '5000') + '/health/ready', timeout=4)"]

CMD ["python", "sesame_server.py"]
