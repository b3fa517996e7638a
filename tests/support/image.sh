#!/usr/bin/env bash
# Builds the container image: the static binary on nothing else. Prints its name, or the archive's path.
#
#   image.sh               with docker or buildah, into its store; without either, an archive beside the binary
#   image.sh --archive OUT an archive, without an engine
#
# ERRAND_IMAGE names the image (errand:VERSION), ERRAND_IMAGE_PROFILE the cargo profile that it is built with (release).
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
image=${ERRAND_IMAGE:-errand:$version}
profile=${ERRAND_IMAGE_PROFILE:-release}

binary=$(tests/support/binary.sh --profile "$profile")
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
# What a profile leaves in for debuggers is of no use in a container, and init containers copy the file for every pod.
strip --strip-all -o "$context/errand" "$binary"
# The same binary is to give the same layer, and with BuildKit, which reads the variable, the same image.
cp Dockerfile "$context/"
touch --date=@0 "$context"/*
export SOURCE_DATE_EPOCH=0

# The same as the Dockerfile says, with the same bytes for the same binary.
archive() {
  rm "$context/Dockerfile"
  tests/support/archive.sh "$1" "$image" "$context" \
    '"User": "65532:65532", "Entrypoint": ["/errand"], "WorkingDir": "/"'
  echo "$1"
}

if [ "${1:-}" = --archive ]; then
  archive "${2:?a path}"
elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  docker build --tag "$image" "$context" >&2
  echo "$image"
elif command -v buildah >/dev/null; then
  buildah build --timestamp 0 --tag "$image" "$context" >&2
  echo "$image"
else
  archive "$(dirname "$binary")/errand-$version.tar"
fi
