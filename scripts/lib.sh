# Shared by the scripts: where things are kept, and how tools are installed. Source it.
# Everything that is not the repository's lives under the user's cache folder.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/gantry
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
export PATH="$CACHE/tools/bin:$HOME/.cargo/bin:$PATH"
mkdir -p "$CACHE"

step() { printf '\n== %s (%s)\n' "$*" "$(date +%H:%M:%S)"; }

# apt_packages PACKAGE...: installs Debian packages.
apt_packages() {
  step "installing $*"
  local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# apt_install COMMAND PACKAGE: installs a Debian package when its command is missing.
apt_install() {
  command -v "$1" > /dev/null || apt_packages "$2"
}

# cargo_tools: the cargo commands of the tests, in the versions of tools.txt; from source where no wheel fits the machine.
cargo_tools() {
  local python name version
  if python=$(python_env tools "$ROOT/scripts/tools.txt"); then
    PATH=$(dirname "$python"):$PATH
    return
  fi
  sed -n 's/^astral-dev-toolchain-\([a-z-]*\)==\([0-9.]*\).*/\1 \2/p' "$ROOT/scripts/tools.txt" | while read -r name version; do
    [ -x "$CACHE/tools/bin/$name" ] && continue
    step "building $name $version"
    # Without optimisation: these tools wait for others.
    cargo install --locked --debug --root "$CACHE/tools" --version "$version" "$name"
  done
}

# python_env NAME REQUIREMENTS: makes a virtual environment for a requirements file; prints its python.
python_env() {
  local mark; mark=$(sha256sum "$2" | cut -c1-16)
  local folder=$CACHE/python/$1-$mark
  if [ ! -e "$folder/done" ]; then
    rm -rf "$folder"
    # Debian's own Python has its venv module in a package of its own.
    python3 -c 'import ensurepip' 2> /dev/null || apt_packages python3-venv >&2
    { python3 -m venv "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check -r "$2"; } >&2 || return
    touch "$folder/done"
  fi
  echo "$folder/bin/python"
}

# node_modules FOLDER: installs exactly what its package-lock.json says, when that changed.
node_modules() {
  local mark; mark=$(sha256sum "$1/package-lock.json" | cut -c1-16)
  [ -e "$1/node_modules/.gantry-$mark" ] && return
  (cd "$1" && npm ci --no-audit --no-fund --loglevel=error && touch "node_modules/.gantry-$mark")
}
