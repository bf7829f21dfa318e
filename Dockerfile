# Build:  docker build -t cast-ghl .
# Prove:  docker build --target smoke .     (runs the sandbox inside the image that ships)
#
# Stages: build -> image (what ships) -> smoke -> image again, so that a plain build ends with what ships.

FROM rust:1.95-bookworm AS build
WORKDIR /src

# No packages to install: aws-lc-sys and libsqlite3-sys compile C with the gcc of this image, and aws-lc-sys
# carries its bindings for x86_64 and aarch64 glibc, so neither cmake nor libclang is needed there.

# Dependencies alone, in a layer of their own, built against an empty library and binary. The manifest loses
# its [[test]], [[bench]] and [[example]] tables for this step: cargo refuses a manifest that names missing files.
# The stub's own artifacts are cleaned again, or cargo would take the empty library for the real one when the
# checkout's files are older than this layer.
COPY Cargo.toml Cargo.lock ./
RUN cp Cargo.toml Cargo.toml.real \
 && awk '/^\[/ { skip = /^\[\[(test|bench|example)\]\]/ } !skip' Cargo.toml.real > Cargo.toml \
 && mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs \
 && cargo build --release --locked --bin cast-ghl \
 && cargo clean --release --locked --package cast-ghl-provider \
 && rm -r src Cargo.toml.real

COPY . .
RUN cargo build --release --locked --bin cast-ghl \
 && install -D -m 0755 target/release/cast-ghl /out/cast-ghl


# Debian slim rather than a distroless base: the same glibc as the build, and a shell for whoever has to look inside.
FROM debian:bookworm-slim AS image

# The TLS client reads the system's certificates; slim has none. Copied, not installed: no package index, no openssl.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/cast-ghl /usr/local/bin/cast-ghl
COPY LICENSE /usr/share/doc/cast-ghl/LICENSE

# Numeric, so that Kubernetes' runAsNonRoot can check it; no entry in /etc/passwd is needed.
RUN install -d -o 10001 -g 10001 -m 0700 /data
USER 10001:10001

ENV DATA_DIR=/data
VOLUME /data
EXPOSE 3002

# Liveness only: `healthcheck` asks this process's own /health on loopback, so a lost database does not restart it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["cast-ghl", "healthcheck"]

# No init process: cast-ghl handles SIGTERM itself and starts no children. Give it 50 s to stop.
STOPSIGNAL SIGTERM
ENTRYPOINT ["cast-ghl"]
CMD ["serve"]


# The whole bridge against stand-ins of both vendors, on loopback, in the image that ships and as its user.
FROM image AS smoke
RUN ["cast-ghl", "sandbox"]


FROM image
