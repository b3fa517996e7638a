#!/usr/bin/env bash
# A real Kubernetes on this machine: etcd, API server, controller manager, scheduler, and two nodes, each with its own
# kubelet and containerd. Needs root and Debian.
#
#   cluster.sh up              starts it and waits until both nodes are Ready; prints the kubeconfig's path
#   cluster.sh down            stops it; nothing of it stays
#   cluster.sh load ARCHIVE    brings an image archive into both nodes
#   cluster.sh stop PART       kills a part without a warning: etcd, apiserver, controller-manager, scheduler, proxy,
#   cluster.sh start PART      kubelet-1, kubelet-2, containerd-1, containerd-2; and starts it again
#   cluster.sh run COMMAND...  runs a command where the cluster's processes are
#
# All of it lives in a network, mount and process namespace of its own, whose first process is inside.sh. Killing that
# process takes every other process, mount, interface and firewall rule with it; what is left are the folder
# ERRAND_CLUSTER_DIR and the cgroups, and `down` removes both.
#
# The machine reaches API server, services and pods by a veth pair and routes to 10.N.0.0/16 that vanish with it.
# ERRAND_CLUSTER_OWNER  a process: when it is gone, so is the cluster
# ERRAND_CLUSTER_NODES  0: without nodes and proxy, for a benchmark that brings hollow ones
# ERRAND_CLUSTER_AUDIT  1: the API server writes each write request into log/audit, a line of JSON with its writer
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${ERRAND_CLUSTER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/errand/cluster}

fail() {
  echo "cluster.sh: $*" >&2
  exit 1
}

up() {
  [ "$(id -u)" = 0 ] || fail "a cluster needs root: namespaces, mounts and interfaces are made"
  [ "$(uname -m)" = x86_64 ] || fail "knows only x86_64"
  [ ! -e "$dir/init" ] || fail "$dir/init exists: a cluster runs already, or stopped without 'down'"
  "$here/packages.sh" etcd-server containerd runc containernetworking-plugins iptables conntrack socat ethtool \
    ebtables busybox-static iproute2 util-linux openssl curl
  local kubernetes kubectl
  started=""
  kubernetes=$("$here/binaries.sh")
  kubectl=$("$here/../../tests/support/tool.sh" kubectl)
  mkdir -p "$dir/log" "$dir/run"
  trap '[ -n "$started" ] || { explain; down; }' EXIT
  local octet
  octet=$(free_octet)
  "$here/configure.sh" "$dir" "10.$octet" "$kubernetes" "$kubectl"
  cgroups make
  # Waits for its network before it starts anything.
  setsid unshare --mount --net --pid --fork --mount-proc --propagation private \
    "$here/inside.sh" "$dir" >"$dir/log/inside" 2>&1 </dev/null &
  connect $! "$octet"
  if [ -n "${ERRAND_CLUSTER_OWNER:-}" ]; then
    setsid "$0" watch "$ERRAND_CLUSTER_OWNER" >/dev/null 2>&1 </dev/null &
  fi
  ready
  started=yes
  echo "$dir/kubeconfig"
}

# The first N for which this machine has neither an address nor a route in 10.N.0.0/16.
free_octet() {
  local octet taken
  taken=$(ip -4 -o addr show; ip -4 route show table all)
  for octet in $(seq 200 250); do
    grep -q "[ /]10\.$octet\." <<<"$taken" || { echo "$octet"; return; }
  done
  fail "no network 10.200.0.0/16 to 10.250.0.0/16 is free on this machine"
}

# connect UNSHARE OCTET: finds the cluster's first process and ties its network to the machine's.
connect() {
  local init="" veth=errand$2
  for _ in $(seq 100); do
    init=$(pgrep --parent "$1" || true)
    [ -z "$init" ] || break
    sleep 0.1
  done
  [ -n "$init" ] || fail "no namespaces could be made; see $dir/log/inside"
  echo "$init" >"$dir/init"
  echo "$veth" >"$dir/veth"
  ip link add "$veth" type veth peer name eth0 netns "/proc/$init/ns/net"
  ip addr add "10.$2.0.1/24" dev "$veth"
  ip link set "$veth" up
  ip route add "10.$2.16.0/20" via "10.$2.0.2"
  ip route add "10.$2.32.0/20" via "10.$2.0.2"
  touch "$dir/run/connected"
}

ready() {
  local kubectl
  kubectl=$(cat "$dir/kubectl")
  await "the API server" 120 "$kubectl" --kubeconfig "$dir/kubeconfig" get --raw /readyz
  [ "${ERRAND_CLUSTER_NODES:-2}" = 0 ] || await "both nodes" 120 nodes_ready
  await "the default service account" 60 "$kubectl" --kubeconfig "$dir/kubeconfig" get serviceaccount default
}

nodes_ready() {
  [ "$("$(cat "$dir/kubectl")" --kubeconfig "$dir/kubeconfig" get nodes --no-headers | awk '$2 == "Ready"' | wc -l)" = 2 ]
}

# await WHAT SECONDS COMMAND...
await() {
  local what=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ -d "/proc/$(cat "$dir/init")" ] || fail "the cluster ended while $what was waited for"
    [ $SECONDS -lt $deadline ] || fail "$what did not become ready; logs are in $dir/log"
    sleep 0.2
  done
}

explain() {
  local log
  for log in "$dir"/log/*; do
    [ -f "$log" ] || continue
    echo "--- $log" >&2
    tail -n 15 "$log" | cut -c 1-300 >&2
  done
}

down() {
  local init
  if init=$(cat "$dir/init" 2>/dev/null) && grep -qs inside.sh "/proc/$init/cmdline"; then
    # The whole process namespace goes with its first process.
    kill -KILL "$init" 2>/dev/null || true
    while [ -d "/proc/$init" ]; do sleep 0.1; done
  fi
  # The kernel takes a dead namespace apart at leisure: connections that linger hold it for a minute.
  [ ! -f "$dir/veth" ] || ip link delete "$(cat "$dir/veth")" 2>/dev/null || true
  [ ! -f "$dir/name" ] || cgroups remove
  rm -rf "$dir"
}

# One cgroup per node under one of the cluster's, in every hierarchy that the machine has.
cgroups() {
  local hierarchy name
  name=$(cat "$dir/name")
  for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    if [ "$1" = make ]; then
      mkdir -p "$hierarchy/$name/node-1" "$hierarchy/$name/node-2" 2>/dev/null || continue
      enable "$hierarchy" "$name"
    elif [ -d "$hierarchy/$name" ]; then
      # The last processes leave their cgroups a moment after they have ended.
      for _ in $(seq 50); do
        find "$hierarchy/$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$hierarchy/$name" ] || break
        sleep 0.1
      done
    fi
  done
}

# Children get what a v1 cpuset does not pass on, and on v2 the controllers that kubelets ask for.
enable() {
  local group file
  for group in "$1/$2" "$1/$2/node-1" "$1/$2/node-2"; do
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$group/$file" ] || [ -n "$(cat "$group/$file")" ] || cat "$(dirname "$group")/$file" >"$group/$file"
    done
    [ ! -e "$group/cgroup.subtree_control" ] || [ ! -s "$group/cgroup.controllers" ] ||
      sed 's/[^ ]*/+&/g' "$group/cgroup.controllers" >"$group/cgroup.subtree_control" 2>/dev/null || true
  done
}

inside() {
  local init
  init=$(cat "$dir/init" 2>/dev/null) || fail "no cluster runs: start one with 'cluster.sh up'"
  # shellcheck source=/dev/null
  (. "$dir/environment" && nsenter --target "$init" --mount --net --pid -- "$@")
}

watch() {
  while [ -d "/proc/$1" ] && [ -e "$dir/init" ]; do sleep 1; done
  [ ! -e "$dir/init" ] || down
}

load() {
  local node
  for node in 1 2; do
    inside ctr --address "$dir/node-$node/containerd.sock" --namespace k8s.io images import --all-platforms "$(realpath "$1")" >/dev/null
  done
}

case "${1:-}" in
  up) up ;;
  down) down ;;
  load) load "${2:?an image archive}" ;;
  stop | start) inside "$here/part.sh" "$1" "$dir" "${2:?a part}" ;;
  run) shift && inside "$@" ;;
  watch) watch "${2:?a process}" ;;
  *) fail "up, down, load, stop, start or run" ;;
esac
