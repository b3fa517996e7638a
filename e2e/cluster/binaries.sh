#!/usr/bin/env bash
# Prints a folder with kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy.
#
# ERRAND_KUBE_BIN names a folder that has them, of any version, and etcd, containerd (with its shim and ctr) and runc where
# that version needs newer ones than the machine has. Otherwise they are built once from Debian's source
# package of Kubernetes 1.20.2 (the last whose source is complete in Debian) and kept in the user's cache.
set -euo pipefail

readonly programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
readonly version=1.20.2
# Raised with each change to `mend`, so that an older build is not taken for a newer one.
readonly mended=2
readonly go=/usr/lib/go-1.19/bin

fail() {
  echo "$0: $*" >&2
  exit 1
}

complete() {
  local program
  for program in "${programs[@]}"; do
    [ -x "$1/$program" ] || return 1
  done
}

# An apt configuration of its own, so that the machine's sources stay as they are. The mirror is the machine's.
# Debian's version of the package is 1.20.5+really1.20.2.
download() {
  local apt=$1/apt mirror
  # shellcheck disable=SC2016 # apt-get expands it
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} bookworm main" >"$apt/sources.list"
  local options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update -qq
  (cd "$1" && apt-get "${options[@]}" source --download-only -qq kubernetes)
  dpkg-source --no-check --extract "$1"/kubernetes_*"really$version"-*.dsc "$1/source"
}

# What was written for Go 1.15 and breaks under 1.18 and newer.
mend() {
  # reflect2 1.0.1 reads past maps: the API server crashes.
  local vendored=$1/source/vendor/github.com/modern-go/reflect2
  rm "$vendored"/*.go "$vendored"/*.s
  cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$vendored/"
  rm -f "$vendored"/*_test.go
  # An empty string is taken for null, and so refused in custom resources: reflect.Zero has the same address now.
  local file
  for file in github.com/go-openapi/validate/type.go k8s.io/kube-openapi/pkg/validation/validate/type.go; do
    sed -i 's/if data == nil || reflect.DeepEqual(reflect.Zero(.*{$/if data == nil {/' "$1/source/vendor/$file"
  done
}

build() {
  local what=("${programs[@]/#/cmd/}")
  (
    cd "$1/source"
    # The build asks git for a version; without a repository of its own it would find that of whatever lies above.
    git init -q .
    export PATH="$go:$PATH" GO111MODULE=on GOFLAGS=-mod=vendor GOCACHE="$1/go-cache" GOPATH="$1/go"
    make WHAT="${what[*]}" KUBE_GIT_VERSION="v$version" KUBE_GIT_TREE_STATE=archive KUBE_GIT_COMMIT=debian
  )
}

main() {
  if [ -n "${ERRAND_KUBE_BIN:-}" ]; then
    complete "$ERRAND_KUBE_BIN" || fail "ERRAND_KUBE_BIN=$ERRAND_KUBE_BIN lacks one of: ${programs[*]}"
    echo "$ERRAND_KUBE_BIN"
    return
  fi
  local cache="${XDG_CACHE_HOME:-$HOME/.cache}/errand/kubernetes-$version-$mended"
  if ! complete "$cache"; then
    "$(dirname "$0")/packages.sh" golang-1.19-go golang-github-modern-go-reflect2-dev dpkg-dev rsync jq make git >&2
    mkdir -p "$(dirname "$cache")"
    work=$(mktemp -d "$(dirname "$cache")/.kubernetes.XXXXXX")
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    echo "building Kubernetes $version once; 8 GB of disk and about ten minutes on two cores" >&2
    download "$work" >&2
    mend "$work"
    build "$work" >&2
    mkdir -p "$cache"
    install -m 755 "${programs[@]/#/$work/source/_output/local/go/bin/}" "$cache/"
    complete "$cache" || fail "the build of Kubernetes $version left one of these out: ${programs[*]}"
  fi
  echo "$cache"
}

main
