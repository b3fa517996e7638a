#!/usr/bin/env bash
# Runs the cluster tests: brings up a Kubernetes, loads the image, installs the chart, tests, takes all of it down.
#
#   run.sh                 all of it
#   run.sh --only-install  leaves the cluster running with Errand on it
#
# ERRAND_KUBE_BIN        folder of Kubernetes' binaries; absent: built once from Debian's sources
# ERRAND_E2E_CLUSTER     existing: use the cluster that KUBECONFIG names. The tests that stop its parts are left out, which
#                        the summary says. This machine and its pods and services must reach each other, and a release
#                        errand in errand-system is taken over and uninstalled. ERRAND_E2E_IMAGE names an image that it
#                        can pull, ERRAND_E2E_TOOLS one of busybox
# ERRAND_E2E_TESTS       run only the tests whose names contain this; those of disruptive only where it begins so
# ERRAND_E2E_MEASURE     instead of the tests run the measurements whose names contain this, one at a time
# ERRAND_E2E_THREADS     tests at once, but for those: 6
# ERRAND_E2E_SEED        when controllers are killed, as a run that failed has printed it
# ERRAND_IMAGE_PROFILE   cargo profile of the image: release
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
cluster=e2e/cluster/cluster.sh
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

say() { echo "e2e: $*" >&2; }

# Also after Ctrl-C and after a failure. Should this process be killed outright, the cluster sees that and ends.
own_cluster() {
  work=$(mktemp -d /var/tmp/errand-e2e.XXXXXX)
  if [ -n "$keep" ]; then
    trap 'rm -rf "$work"' EXIT
  else
    export ERRAND_CLUSTER_DIR=$work/cluster ERRAND_CLUSTER_OWNER=$$
    trap 'say "taking the cluster down"; $cluster down; rm -rf "$work"' EXIT
  fi
  trap 'exit 130' INT TERM HUP
  say "building the image"
  tests/support/image.sh --archive "$work/errand.tar" >/dev/null
  tests/support/busybox-root.sh "$work/busybox"
  tests/support/archive.sh "$work/tools.tar" "$tools" "$work/busybox" '"Env": ["PATH=/bin"], "WorkingDir": "/"'
  say "starting Kubernetes"
  KUBECONFIG=$($cluster up)
  export KUBECONFIG
  $cluster load "$work/errand.tar"
  $cluster load "$work/tools.tar"
}

install_chart() {
  say "installing the chart"
  e2e/certificates.sh errand-system
  "$(tests/support/tool.sh helm)" upgrade --install errand charts/errand --namespace errand-system --create-namespace \
    --values e2e/values.yaml --set "image.repository=${image%:*}" --set "image.tag=${image##*:}" \
    --set "facade.diego.stacks.tools=$tools" --wait --timeout 3m
}

# What an existing cluster is left with: nothing of a release, and the definitions with all Tasks.
leave() {
  say "uninstalling"
  "$(tests/support/tool.sh helm)" uninstall errand --namespace errand-system --ignore-not-found
  e2e/certificates.sh --remove errand-system
}

# tests THREADS FILTERS...
tests() {
  local threads=$1
  shift
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast --test e2e --test-threads "$threads" -- "$@"
  else
    cargo test --no-fail-fast --test e2e -- --test-threads "$threads" "$@"
  fi
}

measure() {
  say "measuring"
  cargo test --test e2e -- --ignored --nocapture --test-threads 1 "$1"
}

run_tests() {
  local code=0 filter=${ERRAND_E2E_TESTS:-}
  say "running the tests"
  case $filter in
    disruptive::*) ;;
    *) tests "${ERRAND_E2E_THREADS:-6}" ${filter:+"$filter"} --skip disruptive:: || code=$? ;;
  esac
  if [ -z "${ERRAND_CLUSTER_DIR:-}" ]; then
    say "left out: the tests under e2e/disruptive, which stop parts of a cluster"
  elif [ -z "$filter" ] || [[ $filter == disruptive::* ]]; then
    # They stop parts of the cluster, so each has it for itself.
    tests 1 "${filter:-disruptive::}" || code=$?
  fi
  return $code
}

keep=""
[ "${1:-}" != --only-install ] || keep=yes
image=${ERRAND_E2E_IMAGE:-errand:$version}
tools=${ERRAND_E2E_TOOLS:-errand-tools:1}
if [ "${ERRAND_E2E_CLUSTER:-own}" = existing ]; then
  : "${KUBECONFIG:?names the existing cluster}"
  # Its parts are not to be stopped, whoever made it.
  unset ERRAND_CLUSTER_DIR
  [ -n "$keep" ] || trap leave EXIT
else
  own_cluster
fi
install_chart
if [ -n "$keep" ]; then
  echo "export KUBECONFIG=$KUBECONFIG"
else
  export ERRAND_E2E_IMAGE=$image ERRAND_E2E_TOOLS=$tools
  if [ -n "${ERRAND_E2E_MEASURE:-}" ]; then
    measure "$ERRAND_E2E_MEASURE"
  else
    run_tests
  fi
fi
