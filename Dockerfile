# One image for web, worker, signer, beat and migrate; docker-compose.yml shows how they stand together.
# Python 3.11 is what the tests run on.
FROM python:3.11-slim-bookworm AS build

ENV PYTHONDONTWRITEBYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_NO_PYTHON_DOWNLOADS=1
WORKDIR /app

# Both steps check hashes: those of uv stand in .ci/uv.txt, all others in uv.lock.
COPY .ci/uv.txt .ci/uv.txt
RUN python -m pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes --requirement .ci/uv.txt --target /opt/uv
COPY pyproject.toml uv.lock ./
RUN python -m venv --without-pip .venv && /opt/uv/bin/uv sync --locked --no-dev --extra oidc --extra s3 --extra tsa --no-install-project

COPY LICENSE manage.py ./
COPY audit audit
COPY inventory inventory
COPY rotation rotation
COPY keyvault_admin keyvault_admin
COPY static static
COPY templates templates

# The settings ask for what no image may hold. These values serve this one command, and nothing of them stays.
RUN SECRET_KEY=build \
    KEYVAULT_SEALING_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
    KEYVAULT_DIGEST_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
    DATABASE_URL=postgres://nobody@127.0.0.1/none \
    CELERY_BROKER_URL=redis://127.0.0.1/0 \
    .venv/bin/python manage.py collectstatic --noinput \
    && .venv/bin/python -m compileall -q .


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="Keyvault Admin" \
      org.opencontainers.image.description="Open key governance: every key of a company, what is late and by which rule, and the proof of it" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 keyvault \
    && useradd --system --uid 10001 --gid keyvault --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin keyvault
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app

# Where the signer leaves checkpoints, unless KEYVAULT_ANCHORS says otherwise; a new volume takes its owner from here.
# The same for the worker's key ring.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /checkpoints /ring

# Everything else belongs to root: the processes read the code and cannot change it.
COPY --from=build /app /app
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["/app/keyvault_admin/container/entrypoint"]
CMD ["web"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "/app/keyvault_admin/container/healthcheck.py", "web"]
