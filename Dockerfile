# docker build -t remora-mesh:0.1.0 .                            both commands: sidecar and control
# docker build --target examples -t remora-examples:0.1.0 .      the example services, for trying things out
ARG PYTHON=3.13-slim

FROM python:${PYTHON} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The wheel is compiled for this Python; without these two lines it is plain Python, and takes more CPU.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV HATCH_BUILD_HOOK_ENABLE_CUSTOM=true
RUN python -m venv /opt/remora
COPY pyproject.toml build_hook.py README.md LICENSE ./
COPY remora ./remora
RUN python -m pip wheel --no-deps --wheel-dir /wheels . \
    && /opt/remora/bin/python -m pip install "$(echo /wheels/*.whl)[json]" \
    && /opt/remora/bin/python -m pip uninstall --yes pip

FROM python:${PYTHON} AS runtime
COPY --from=build /opt/remora /opt/remora
ENV PATH=/opt/remora/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# 1337 is the proxy's user everywhere: interception tells its traffic from the app's by it.
RUN groupadd --gid 1337 remora \
    && useradd --uid 1337 --gid 1337 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin remora \
    && install --directory --owner=1337 --group=1337 /var/lib/remora

FROM runtime AS examples
WORKDIR /srv
COPY examples ./examples
USER 1000:1000
EXPOSE 8080
CMD ["python", "-m", "examples.reviews"]

FROM runtime AS remora
WORKDIR /var/lib/remora
USER 1337:1337
# outbound, inbound, metrics and probes; control's gRPC and REST. The sidecar's admin (15000) stays on loopback.
EXPOSE 15001 15006 15020 15010 15014
CMD ["sidecar", "--help"]
