#!/usr/bin/env bash
# archive.sh OUT TAG ROOT CONFIG: writes a container image without a container engine.
#
# OUT is an archive as `docker save` writes it (docker, podman, buildah, ctr and skopeo read it). It holds the folder
# ROOT as its one layer; CONFIG is the inside of the image's "config" object, such as '"Entrypoint": ["/errand"]'.
# The same input gives the same bytes: names are sorted, times and owners are fixed.
set -euo pipefail
out=$1 tag=$2 root=$3 config=$4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pack() {
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu "$@"
}

digest() {
  sha256sum "$1" | cut -d ' ' -f 1
}

case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) architecture=$(uname -m) ;;
esac

pack --directory "$root" --create --file "$work/layer.tar" .
cat >"$work/config" <<END
{"architecture": "$architecture", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": {$config},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(digest "$work/layer.tar")"]},
 "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "errand"}]}
END
name=$(digest "$work/config").json
mv "$work/config" "$work/$name"
echo "[{\"Config\": \"$name\", \"RepoTags\": [\"$tag\"], \"Layers\": [\"layer.tar\"]}]" >"$work/manifest.json"
pack --directory "$work" --create --file "$out" manifest.json "$name" layer.tar
