#!/usr/bin/env bash
# Builds errand and prints the path of the binary. Arguments go to cargo build: --release.
set -euo pipefail
cd "$(dirname "$0")/../.."
path=$(cargo build --bin errand --message-format=json-render-diagnostics "$@" |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$path" ] || {
  echo "cargo built no binary" >&2
  exit 1
}
echo "$path"
