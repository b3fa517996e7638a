#!/usr/bin/env bash
# inside.sh DIR: the first process of the cluster's namespaces. Starts all parts and adopts what they leave behind.
set -euo pipefail
dir=$1
here=$(cd "$(dirname "$0")" && pwd)
# Written by configure.sh.
net="" nodes=""
# shellcheck source=/dev/null
. "$dir/environment"

until [ -e "$dir/run/connected" ]; do sleep 0.05; done
ip link set lo up
ip addr add "$net.0.2/24" dev eth0
ip addr add "$net.0.3/24" dev eth0
ip link set eth0 up
# Addresses of services have no interface: a process asks for a route first, and is led elsewhere after.
ip route add default via "$net.0.1"
echo 1 >/proc/sys/net/ipv4/ip_forward

# Mounts of pods have to reach the containers of the same node; nothing of it leaves this namespace.
mount --make-rshared /
mount -t tmpfs errand-run /run

start() {
  local part
  for part in "$@"; do
    "$here/part.sh" start "$dir" "$part"
  done
}
start etcd apiserver
# It makes the certificate that all others check it by.
until [ -s "$dir/certificates/apiserver.crt" ]; do sleep 0.05; done
[ "$nodes" = 0 ] || start node-1 node-2 proxy
start controller-manager scheduler
# bash waits for every process that ends here, its own or adopted.
while :; do sleep 3600 & wait; done
