#!/usr/bin/env bash
# scripts/fuzz.sh SECONDS [TARGET...]: runs fuzz targets under libFuzzer with coverage, all of them unless some are named.
# Needs the nightly compiler; builds cargo-fuzz once. What fails is kept in fuzz/artifacts.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
seconds=$1; shift
rustup toolchain list | grep -q '^nightly' || { echo "rustup toolchain install nightly" >&2; exit 1; }
command -v cargo-fuzz > /dev/null || cargo install --locked --debug --root "$CACHE/tools" --version 0.13.2 cargo-fuzz
[ $# -gt 0 ] || set -- $(ls crates/fuzz/corpus)
for target in "$@"; do
  step "$target for $seconds s"
  mkdir -p "fuzz/corpus/$target"
  cargo +nightly fuzz run --fuzz-dir fuzz "$target" "fuzz/corpus/$target" "crates/fuzz/corpus/$target" -- -max_total_time="$seconds"
done
