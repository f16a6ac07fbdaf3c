# Medlift in a container: the binary and the certificate authorities for TLS, on a minimal Debian.
#
#   docker build -t medlift .

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Builds the dependencies first, with empty sources. A change of the source then rebuilds only the later layers.
COPY Cargo.toml Cargo.lock ./
COPY benchmark/Cargo.toml benchmark/
COPY testkit/Cargo.toml testkit/
COPY xtask/Cargo.toml xtask/
RUN mkdir -p src tests/it benches benchmark/src testkit/src xtask/src \
 && echo 'fn main() {}' | tee src/main.rs tests/it/main.rs benchmark/src/main.rs xtask/src/main.rs >/dev/null \
 && touch src/lib.rs testkit/src/lib.rs xtask/src/lib.rs \
 && for bench in $(sed -n '/^\[\[bench]]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml); do touch "benches/$bench.rs"; done \
 && cargo build --release --locked --package medlift --bin medlift
COPY specs specs
COPY src src
# cargo rebuilds a file if it is newer than the last build. Docker copies files with their old modification times.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --package medlift --bin medlift \
 && strip --strip-debug target/release/medlift

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin medlift \
 && install -d -o medlift -g medlift /var/lib/medlift
COPY --from=build /src/target/release/medlift /usr/local/bin/medlift
USER medlift
# Reject files are written to this directory. The rest of the root file system may be read-only.
WORKDIR /var/lib/medlift
VOLUME /var/lib/medlift
HEALTHCHECK --interval=30s --timeout=15s --start-period=10s --retries=3 CMD ["medlift", "doctor"]
ENTRYPOINT ["medlift"]
CMD ["--help"]
