#!/usr/bin/env bash
# Builds errand and prints the path of the binary. Arguments go to cargo build: --release.
#
# Where a release is built is to make no difference to its bytes, with the same sources, Rust and C libraries: the folders
# of the machine, which panics would name, are written as what they are for.
set -euo pipefail
cd "$(dirname "$0")/../.."

elsewhere=()
if [[ " $* " == *release* ]]; then
  flags=""
  for folder in "$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")=/cargo" "$PWD=/errand" \
    "$(realpath -m "${CARGO_TARGET_DIR:-target}")=/target"; do
    flags+="${flags:+, }\"--remap-path-prefix=$folder\""
  done
  # Joins the flags of .cargo/config.toml, which a variable would replace.
  elsewhere=(--config "target.'cfg(all())'.rustflags = [$flags]")
fi

path=$(cargo build "${elsewhere[@]}" --bin errand --message-format=json-render-diagnostics "$@" |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$path" ] || {
  echo "cargo built no binary" >&2
  exit 1
}
echo "$path"
