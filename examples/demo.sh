#!/usr/bin/env bash
# What `make demo` runs: builds errand, starts the embedded plane on free ports in a temporary folder, applies the
# examples, runs one of them with progress, prints its result, and stops everything again.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "building errand (the first build takes some minutes)"
errand=$(tests/support/binary.sh)
folder=$(mktemp -d)
plane=

stop() {
  local code=$?
  if [ -n "$plane" ]; then
    kill "$plane" 2>/dev/null || true
    wait "$plane" 2>/dev/null || true
  fi
  if [ "$code" -ne 0 ]; then
    echo "the demo failed; the last lines of the plane's log:" >&2
    tail -n 40 "$folder/log" >&2 || true
  fi
  rm -rf "$folder"
}
trap stop EXIT

step() {
  printf '\n$ %s\n' "$*"
}

export KUBECONFIG="$folder/kubeconfig"
step errand dev --runtime process --apply examples
"$errand" dev --facade-addr 127.0.0.1:0 --api-addr 127.0.0.1:0 --kubeconfig "$KUBECONFIG" --runtime process --apply examples \
  >"$folder/ready" 2>"$folder/log" &
plane=$!
for _ in $(seq 600); do
  grep -q '^ready ' "$folder/ready" && break
  kill -0 "$plane" 2>/dev/null || {
    echo "the plane did not start" >&2
    exit 1
  }
  sleep 0.1
done
grep '^ready ' "$folder/ready" | sed 's/token=.*/token=.../'

step errand run copy --arg 5
timeout 120 "$errand" run copy --arg 5

step errand run hello --input Ada
timeout 120 "$errand" run hello --input Ada

step errand get
"$errand" get

if kubectl=$(command -v kubectl); then
  step kubectl get functions
  "$kubectl" get functions
fi
