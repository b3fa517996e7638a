#!/usr/bin/env bash
# part.sh start|stop DIR PART: starts or kills one part of the cluster, inside of its namespaces.
set -euo pipefail
action=$1 dir=$2 part=$3
here=$(cd "$(dirname "$0")" && pwd)
# Written by configure.sh.
net="" kubernetes="" minor=""
# shellcheck source=/dev/null
. "$dir/environment"

# launch COMMAND...: in the background, its output in a log, its process id in a file.
launch() {
  setsid "$@" >>"$dir/log/$part" 2>&1 </dev/null &
  echo $! >"$dir/run/$part"
}

# in_node NODE COMMAND...: with the paths that this node has for itself.
in_node() {
  local node=$1
  shift
  launch nsenter --target "$(cat "$dir/run/node-$node")" --mount -- "$@"
}

as_admin=(--kubeconfig "$dir/kubeconfig")

start() {
  case $part in
    etcd)
      # A test's cluster need not survive the machine.
      launch etcd --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:2379 \
        --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 \
        --unsafe-no-fsync --quota-backend-bytes 8589934592
      ;;
    apiserver)
      local audit=()
      [ ! -e "$dir/audit.yaml" ] || audit=(--audit-policy-file "$dir/audit.yaml" --audit-log-path "$dir/log/audit"
        --audit-log-maxsize 100000)
      launch "$kubernetes/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --advertise-address "$net.0.2" \
        --cert-dir "$dir/certificates" --service-cluster-ip-range "$net.32.0/20" --token-auth-file "$dir/tokens" \
        --service-account-key-file "$dir/service-accounts.pub" \
        --service-account-signing-key-file "$dir/service-accounts.key" \
        --service-account-issuer https://kubernetes.default.svc --api-audiences https://kubernetes.default.svc \
        --authorization-mode Node,RBAC --allow-privileged=true --enable-admission-plugins NodeRestriction \
        --kubelet-preferred-address-types InternalIP \
        --max-requests-inflight 3000 --max-mutating-requests-inflight 1000 "${audit[@]}"
      ;;
    controller-manager)
      launch "$kubernetes/kube-controller-manager" "${as_admin[@]}" --leader-elect=false \
        --service-account-private-key-file "$dir/service-accounts.key" \
        --root-ca-file "$dir/certificates/apiserver.crt" --use-service-account-credentials \
        --kube-api-qps 1000 --kube-api-burst 2000 --node-monitor-grace-period 20s
      ;;
    scheduler)
      launch "$kubernetes/kube-scheduler" "${as_admin[@]}" --leader-elect=false --kube-api-qps 1000 --kube-api-burst 2000
      ;;
    proxy)
      # Without br_netfilter an answer between two pods of one bridge would pass by the rules that translated the question.
      launch "$kubernetes/kube-proxy" "${as_admin[@]}" --hostname-override node-1 --proxy-mode iptables \
        --masquerade-all --conntrack-max-per-core 0 --bind-address "$net.0.2"
      ;;
    node-1 | node-2) launch unshare --mount --propagation slave "$here/node.sh" "$dir" "${part#node-}" ;;
    containerd-1 | containerd-2)
      in_node "${part#containerd-}" containerd --config "$dir/node-${part#containerd-}/containerd.toml"
      ;;
    kubelet-1 | kubelet-2) kubelet "${part#kubelet-}" ;;
    *) unknown ;;
  esac
}

kubelet() {
  local node=$dir/node-$1 runtime=()
  [ "$minor" -ge 27 ] || runtime=(--container-runtime remote --container-runtime-endpoint "unix://$node/containerd.sock")
  in_node "$1" "$kubernetes/kubelet" --config "$node/kubelet.yaml" --kubeconfig "$node/kubeconfig" \
    --root-dir /var/lib/kubelet --hostname-override "node-$1" --node-ip "$net.0.$((1 + $1))" "${runtime[@]}"
}

stop() {
  local pid
  pid=$(cat "$dir/run/$part" 2>/dev/null) || unknown
  kill -KILL "$pid" 2>/dev/null || true
  while [ -d "/proc/$pid" ]; do sleep 0.05; done
}

unknown() {
  echo "part.sh: there is no part $part to $action" >&2
  exit 1
}

case $action in
  start) start ;;
  stop) stop ;;
esac
