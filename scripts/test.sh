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
apt_install psql postgresql-client
cargo_tools

step "page: install, build"
scripts/web.sh
# The page is checked, and packages of the clients come, while the compiler works.
beside=$(mktemp)
(
  set -e
  (cd web && npm run --silent check && npm test --silent)
  python_env clients tests/clients/python/requirements.txt
  python_env ingest tests/clients/python/requirements-ingest.txt
  node_modules "$ROOT/tests/clients/node"
  node_modules "$ROOT/tests/clients/azurite"
  node_modules "$ROOT/tests/clients/openid"
) > "$beside" 2>&1 &
arriving=$!

step "format"
cargo fmt --all --check

step "licences, bans and sources"
cargo deny --log-level error check bans licenses sources

step "lints, unit and property tests"
# Clippy's driver is a compiler: one build gives the lints, the tests and the binary. `cargo clippy` beside it would check
# every dependency a second time, which is a third of a first run. The variable is how `cargo clippy` says `-D warnings`.
RUSTC_WORKSPACE_WRAPPER=$(rustup which clippy-driver 2> /dev/null || command -v clippy-driver)
export RUSTC_WORKSPACE_WRAPPER CLIPPY_ARGS='-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__'
# What is built here is built once, in a clone that is new: what would make the next build of the same sources faster, and
# the lines of backtraces, cost a tenth of a first run.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
cargo build --workspace --all-targets --quiet
wait "$arriving" || { cat "$beside"; exit 1; }
python=$(python_env clients tests/clients/python/requirements.txt)
ingest=$(python_env ingest tests/clients/python/requirements-ingest.txt)
# All of these wait more than they work, so they run beside each other: the clients, and after them the page in Chromium.
# They take the binary that was just built: another build would have other features and take minutes.
(
  status=0
  tests/clients/run.sh "$CARGO_TARGET_DIR/debug/gantry" "$python" "$ingest" || status=$?
  step "the page in Chromium"
  tests/page.sh "$CARGO_TARGET_DIR/debug/gantry" "$CACHE/screenshots" || status=$?
  exit "$status"
) > "$beside" 2>&1 &
clients_run=$!
failed=0
cargo nextest run --workspace --no-fail-fast || failed=$?
cargo test --workspace --doc --quiet || failed=$?

step "real clients"
wait "$clients_run" || failed=$?
cat "$beside"
[ "$failed" = 0 ] || exit "$failed"

step "every test passed"
