#!/usr/bin/env bash
# Builds the container image: the static release binary on nothing else. ERRAND_IMAGE names it.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
image=${ERRAND_IMAGE:-errand:$version}
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$(tests/support/binary.sh --release)" "$context/errand"
cp Dockerfile "$context/"
if command -v docker >/dev/null; then
  docker build --tag "$image" "$context"
elif command -v buildah >/dev/null; then
  buildah build --tag "$image" "$context"
else
  echo "needs docker or buildah: apt-get install docker.io, or apt-get install buildah" >&2
  exit 1
fi
echo "$image"
