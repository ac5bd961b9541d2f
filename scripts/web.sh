#!/usr/bin/env bash
# Builds the page into web/dist, from which the binary embeds it.
. "$(dirname "$0")/lib.sh"
node_modules "$ROOT/web"
cd "$ROOT/web" && npm run --silent build
