#!/usr/bin/env bash
# node.sh DIR NUMBER: holds a node's mounts and starts its containerd and kubelet.
#
# Kubelet and containerd have paths that no flag changes (device plugins, pod logs, shims): each node sees its own
# folders there.
set -euo pipefail
dir=$1 number=$2
here=$(cd "$(dirname "$0")" && pwd)
node=$dir/node-$number
# shellcheck source=/dev/null
. "$dir/environment"

mount --make-rshared /
mkdir -p /run /var/lib/kubelet
mount -t tmpfs "errand-run-$number" /run
mount --bind "$node/kubelet" /var/lib/kubelet
mount --bind "$node/log" /var/log
mount --make-rshared /

# part.sh finds these mounts through this process.
echo $$ >"$dir/run/node-$number"
"$here/part.sh" start "$dir" "containerd-$number"
until ctr --address "$node/containerd.sock" version >/dev/null 2>&1; do sleep 0.1; done
ctr --address "$node/containerd.sock" --namespace k8s.io images import "$dir/pause.tar"
"$here/part.sh" start "$dir" "kubelet-$number"
while :; do sleep 3600 & wait; done
