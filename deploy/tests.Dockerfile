# The integration tests in a container, with the mongod that they start. They have a Dockerfile of their own, so that
# the program's image is built without them: an engine without BuildKit builds every stage of a Dockerfile.
#
#   docker build -t medlift-tests -f deploy/tests.Dockerfile .

ARG MONGO_IMAGE=mongo:8.0
FROM ${MONGO_IMAGE} AS mongo

FROM rust:1.95-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libcurl4 libssl3 liblzma5 procps \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Builds the dependencies first, with empty sources, as in the program's Dockerfile.
COPY Cargo.toml Cargo.lock ./
COPY benchmark/Cargo.toml benchmark/
COPY testkit/Cargo.toml testkit/
COPY xtask/Cargo.toml xtask/
RUN mkdir -p src tests/it benches benchmark/src testkit/src xtask/src \
 && echo 'fn main() {}' | tee src/main.rs tests/it/main.rs benchmark/src/main.rs xtask/src/main.rs >/dev/null \
 && touch src/lib.rs testkit/src/lib.rs xtask/src/lib.rs \
 && for bench in $(sed -n '/^\[\[bench]]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml); do touch "benches/$bench.rs"; done \
 && cargo test --locked --package medlift --test it --no-run
COPY --from=mongo /usr/bin/mongod /usr/local/bin/mongod
COPY . .
RUN touch src/main.rs src/lib.rs testkit/src/lib.rs tests/it/main.rs \
 && cargo test --locked --package medlift --test it --no-run
