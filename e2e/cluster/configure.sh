#!/usr/bin/env bash
# configure.sh DIR NET KUBERNETES KUBECTL: writes keys, tokens, kubeconfigs and configurations of the cluster's parts.
#
# NET is the first half of the cluster's addresses: NET.0.1 is the machine, NET.0.2 the first node and the control
# plane, NET.0.3 the second node, NET.16.0/20 the pods, NET.32.0/20 the services.
set -euo pipefail
dir=$1 net=$2 kubernetes=$3 kubectl=$4
here=$(cd "$(dirname "$0")" && pwd)

minor=$("$kubernetes/kubelet" --version | sed -n 's/^Kubernetes v1\.\([0-9]*\).*/\1/p')
echo "errand-$$" >"$dir/name"
echo "$kubectl" >"$dir/kubectl"
cat >"$dir/environment" <<END
dir=$dir
net=$net
name=errand-$$
kubernetes=$kubernetes
# Its etcd, containerd and runc, where it has them, go before the machine's.
export PATH=$kubernetes:\$PATH
minor=$minor
nodes=${ERRAND_CLUSTER_NODES:-2}
END

# Whoever asks for it counts writes to objects; leases and nodes are written all the time.
if [ "${ERRAND_CLUSTER_AUDIT:-0}" = 1 ]; then
  cat >"$dir/audit.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  verbs: [get, list, watch]
- level: None
  resources:
  - {group: "", resources: [nodes, nodes/status]}
  - {group: coordination.k8s.io, resources: [leases]}
- level: Metadata
END
fi

# Anyone who reads the folder is an administrator of the cluster.
chmod 700 "$dir"
openssl genrsa -out "$dir/service-accounts.key" 2048 2>/dev/null
openssl rsa -in "$dir/service-accounts.key" -pubout -out "$dir/service-accounts.pub" 2>/dev/null
token() { openssl rand -hex 20; }
admin=$(token) node1=$(token) node2=$(token)
cat >"$dir/tokens" <<END
$admin,admin,admin,"system:masters"
$node1,system:node:node-1,node-1,"system:nodes"
$node2,system:node:node-2,node-2,"system:nodes"
END

# The API server makes its certificate when it starts, so these name the file.
kubeconfig() {
  cat >"$1" <<END
apiVersion: v1
kind: Config
clusters:
- name: errand
  cluster: {server: "https://$net.0.2:6443", certificate-authority: "$dir/certificates/apiserver.crt"}
users:
- name: user
  user: {token: $2}
contexts:
- name: errand
  context: {cluster: errand, user: user}
current-context: errand
END
}
kubeconfig "$dir/kubeconfig" "$admin"

node() {
  local node=$dir/node-$1 version_fields=""
  mkdir -p "$node/etc/cni/net.d" "$node/kubelet" "$node/log" "$node/cni"
  kubeconfig "$node/kubeconfig" "$2"
  [ "$minor" -lt 27 ] || version_fields="containerRuntimeEndpoint: unix://$node/containerd.sock"
  # cgroup v1 has to be asked for from 1.35 on.
  [ "$minor" -lt 31 ] || version_fields+=$'\nfailCgroupV1: false'
  cat >"$node/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $net.0.$((1 + $1))
port: 10250
readOnlyPort: 0
healthzPort: 0
# Reachable from this machine only, for as long as the cluster lives.
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /errand-$$/node-$1
enforceNodeAllocatable: []
failSwapOn: false
maxPods: 250
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
# Defaults of newer kubelets, for the old ones too: these throttle pods more than two small nodes would.
kubeAPIQPS: 50
kubeAPIBurst: 100
serializeImagePulls: false
nodeStatusUpdateFrequency: 5s
$version_fields
END
  cat >"$node/containerd.toml" <<END
version = 2
root = "$node/containerd"
state = "$node/run"
[grpc]
  address = "$node/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/errand-pause:1"
  # Root without CAP_SYS_RESOURCE cannot lower a process's OOM score, and no sandbox would start.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$node/etc/cni/net.d"
END
  cat >"$node/etc/cni/net.d/10-errand.conflist" <<END
{"cniVersion": "0.4.0", "name": "errand-$1", "plugins": [
  {"type": "bridge", "bridge": "pods-$1", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$node/cni", "ranges": [[{"subnet": "$net.$((15 + $1)).0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}
node 1 "$node1"
node 2 "$node2"

# What every sandbox runs: waits for its end, and for children that others leave to it.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -D -m 755 /bin/busybox "$root/bin/busybox"
"$here/../../tests/support/archive.sh" "$dir/pause.tar" errand-pause:1 "$root" \
  '"Entrypoint": ["/bin/busybox", "sh", "-c", "trap \"exit 0\" TERM INT; while :; do /bin/busybox sleep 3600 & wait; done"]'
