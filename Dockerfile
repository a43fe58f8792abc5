# docker build -t auditsink .
# The base is named by its digest, so that the same build is the same image; renew it with the locks (make lock):
#   docker buildx imagetools inspect python:3.13-slim-bookworm
ARG BASE=python:3.13.15-slim-bookworm@sha256:2325bb286ec344af3e5898cc224b5844e2707ac6e26b1632516fd3edc84a5e26

FROM ${BASE} AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock pyproject.toml README.md LICENSE ./
COPY auditsink auditsink
# Wheels only, each by its hash: nothing is compiled, so neither stage holds a compiler. pip works on the environment
# from outside and does not become a part of it; what builds our own wheel stays outside too.
RUN python -m venv --without-pip /opt/auditsink && python -m venv /opt/build \
    && python -m pip --python /opt/auditsink/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock \
    && python -m pip --python /opt/build/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.lock \
    && /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /opt/wheels . \
    && python -m pip --python /opt/auditsink/bin/python install --no-cache-dir --no-deps /opt/wheels/*.whl

FROM ${BASE} AS sink
# A number, so that Kubernetes can tell that it is not root; the two directories are its own.
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/auditsink /var/log/auditsink
COPY --from=build /opt/auditsink /opt/auditsink
ENV PATH=/opt/auditsink/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/auditsink
VOLUME ["/var/lib/auditsink"]
EXPOSE 9880 2020
# The sink ends within 10 s.
STOPSIGNAL SIGTERM
# The shell asks by itself: a Python for each question would cost more than the sink does at rest.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2020 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && mapfile -u 3 answer && [[ ${answer[0]} == *' 200 '* ]]"]
ENTRYPOINT ["auditsink"]
CMD ["serve", "-c", "/etc/auditsink/config.yaml"]

# docker build --target fluentbit -t auditsink:fluentbit .
# For a pod made for fluent-bit, which says nothing of a user and mounts a volume of root's: started with
# --storage_path and --config the sink gives its directory away and becomes 10001 before it opens a port.
FROM sink AS fluentbit
USER 0:0
VOLUME ["/data"]

# What is built without --target.
FROM sink
