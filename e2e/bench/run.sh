#!/usr/bin/env bash
# Measures Errand on a control plane of its own with hollow nodes, and takes all of it away again.
#
# ERRAND_BENCH_UNITS, ERRAND_BENCH_CACHED: see main.rs. ERRAND_BENCH_PROFILE: cargo profile, bench.
set -euo pipefail
cd "$(dirname "$0")/../.."
cluster=e2e/cluster/cluster.sh
profile=${ERRAND_BENCH_PROFILE:-bench}

cargo bench --profile "$profile" --bench cluster --no-run
work=$(mktemp -d /var/tmp/errand-bench.XXXXXX)
export ERRAND_CLUSTER_DIR=$work/cluster ERRAND_CLUSTER_OWNER=$$ ERRAND_CLUSTER_NODES=0 ERRAND_CLUSTER_AUDIT=1
# Also after Ctrl-C and after a failure. Should this process be killed outright, the cluster sees that and ends.
trap '$cluster down; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
KUBECONFIG=$($cluster up)
export KUBECONFIG
kubectl=$(tests/support/tool.sh kubectl)
# Servers before 1.25 do not know all that the definitions say, and kubectl would check against what they know.
"$kubectl" apply --validate=false -f crds >/dev/null
# kubectl gives up at once on a definition that has no conditions yet.
for try in {1..60}; do
  "$kubectl" wait --for condition=Established --timeout 60s \
    crd/tasks.errand.dev crd/functions.errand.dev crd/schedules.errand.dev >/dev/null && break
  [ "$try" -lt 60 ] || exit 1
  sleep 1
done
echo "machine: $(nproc) cores of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)," \
  "$(awk '/^MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo), load $(cut -d ' ' -f 1 /proc/loadavg)," \
  "Kubernetes $("$kubectl" version -o json | sed -n '/serverVersion/,$s/.*"gitVersion": "\(.*\)".*/\1/p')"
cargo bench --profile "$profile" --bench cluster
