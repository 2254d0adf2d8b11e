# syntax=docker/dockerfile:1

# The proxy in a container.
#
#   docker build -t pluggedin-mcp-proxy .                    with Node, npx, Python, uv and uvx, for STDIO servers
#   docker build -t pluggedin-mcp-proxy:slim --target slim . the program alone, for remote servers only

FROM rust:1.90-slim-bookworm AS build
WORKDIR /build
# The dependencies come first, with nothing of ours: this layer stays until Cargo.lock changes. What Cargo.toml names has to exist.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/load tests/it \
    && touch src/lib.rs \
    && for file in src/main.rs benches/load/main.rs tests/it/scripted_server.rs; do echo 'fn main() {}' > "$file"; done \
    && cargo build --release --locked --bin pluggedin-mcp-proxy \
    && rm -r src
COPY src src
# Cargo goes by the time of files, and a copied one may be older than what was just built.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin pluggedin-mcp-proxy


FROM gcr.io/distroless/cc-debian12:nonroot AS slim
COPY --from=build /build/target/release/pluggedin-mcp-proxy /usr/local/bin/pluggedin-mcp-proxy
COPY LICENSE /usr/share/doc/pluggedin-mcp-proxy/LICENSE
# Inside a container loopback reaches nobody; what is published is said with `-p`.
ENV BIND_HOST=0.0.0.0
EXPOSE 12006
STOPSIGNAL SIGTERM
# It is the program that asks: there is no shell and no curl here.
HEALTHCHECK --interval=30s --timeout=6s --start-period=20s --retries=3 CMD ["/usr/local/bin/pluggedin-mcp-proxy", "health"]
ENTRYPOINT ["/usr/local/bin/pluggedin-mcp-proxy"]


FROM node:22-bookworm-slim AS full
# tini collects the processes that ended servers leave behind: the proxy is no init system.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 \
    && ln -s /opt/uv/bin/uv /opt/uv/bin/uvx /usr/local/bin/ \
    && ln -s /usr/bin/python3 /usr/local/bin/python
COPY --from=build /build/target/release/pluggedin-mcp-proxy /usr/local/bin/pluggedin-mcp-proxy
COPY LICENSE /usr/share/doc/pluggedin-mcp-proxy/LICENSE
# The image's own unprivileged user, with a home for the caches of npm and uv.
USER 1000:1000
WORKDIR /home/node
ENV BIND_HOST=0.0.0.0
EXPOSE 12006
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=20s --retries=3 CMD ["/usr/local/bin/pluggedin-mcp-proxy", "health"]
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/pluggedin-mcp-proxy"]
