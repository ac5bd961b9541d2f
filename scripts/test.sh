#!/usr/bin/env bash
# Installs what is needed and runs every test: format, lints, licences, unit and property tests,
# real clients against a running platform, the page in Chromium.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

apt_install cc build-essential
apt_install curl curl
apt_install openssl openssl
apt_install ip iproute2
apt_install chromium chromium
apt_install swtpm swtpm
cargo_tools
# Packages of the clients come while the compiler works.
clients=$(mktemp)
(python_env clients tests/clients/python/requirements.txt && node_modules "$ROOT/tests/clients/node") > "$clients" 2>&1 &
arriving=$!

step "page: install, check, unit tests, build"
scripts/web.sh
(cd web && npm run --silent check && npm test --silent)

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings

step "licences, bans and sources"
cargo deny --log-level error check bans licenses sources

step "unit and property tests"
cargo nextest run --workspace --no-fail-fast
cargo test --workspace --doc --quiet

step "real clients"
# The binary that the tests above were built with; another build would have other features and take minutes.
wait "$arriving" || { cat "$clients"; exit 1; }
python=$(python_env clients tests/clients/python/requirements.txt)
tests/clients/run.sh "$CARGO_TARGET_DIR/debug/gantry" "$python"

step "the page in Chromium"
tests/page.sh "$CARGO_TARGET_DIR/debug/gantry" "$CACHE/screenshots"

step "every test passed"
