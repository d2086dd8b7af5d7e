# syntax=docker/dockerfile:1

# docker build -t bellhop .                          the services: bellhop ingress, provisioner, notifier, …
# docker build -t bellhop-simulator --target simulator .    stand-ins for the cluster and the reservation system

FROM rust:1.95.0-slim-bookworm AS build
# The image has this toolchain; without the variable rust-toolchain.toml would fetch rustfmt and clippy too.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --package bellhop --package bellhop-simulator --bins \
    && install -D --strip --target-directory=/programs target/release/bellhop target/release/bellhop-simulator

# What the programs were built against, the certificate authorities, and a user without a name or a home.
FROM debian:bookworm-slim AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# For a volume with the ingress's spool: a new one gets this folder's owner.
RUN install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/bellhop
USER 65532:65532
EXPOSE 8080

FROM base AS simulator
COPY --from=build /programs/bellhop-simulator /usr/local/bin/bellhop-simulator
ENTRYPOINT ["/usr/local/bin/bellhop-simulator"]

# The last stage is what a build without --target makes.
FROM base AS bellhop
COPY --from=build /programs/bellhop /usr/local/bin/bellhop
ENTRYPOINT ["/usr/local/bin/bellhop"]
