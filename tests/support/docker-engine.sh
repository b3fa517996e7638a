#!/bin/sh
# A Docker engine of one's own for tests, beside any other on the machine.
#
#   docker-engine.sh start DIR            starts dockerd with data, state, socket and a bridge of its own; prints the
#                                         socket's address
#   docker-engine.sh image DIR TAG ROOT INSTRUCTION
#                                         makes an image of FROM scratch, the folder ROOT and a Dockerfile's instruction
#   docker-engine.sh tools DIR TAG        makes an image FROM scratch of a static busybox
#   docker-engine.sh stop DIR             stops it and takes away what it made outside of DIR
#
# Nothing stays behind when the process that started it dies: a watcher stops the engine then and removes DIR.
# Needs root. Installs Debian's docker.io, iproute2 and busybox-static where they are missing.
set -eu

action=${1:?start, image, tools or stop}
dir=${2:?a folder}

fail() {
    echo "docker-engine.sh: $1" >&2
    exit 1
}

start() {
    [ "$(id -u)" = 0 ] || fail "starting dockerd needs root; run the tests as root or unset the variable that asks for them"
    command -v dockerd >/dev/null || install docker.io
    command -v ip >/dev/null || install iproute2
    command -v curl >/dev/null || install curl
    mkdir -p "$dir"
    bridge
    # Containers are reached from this machine and reach nothing else, so the engine need not touch iptables.
    setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" -H "unix://$dir/docker.sock" -p "$dir/docker.pid" \
        --bridge "$(cat "$dir/bridge")" --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
        --userland-proxy=false --shutdown-timeout 1 --storage-driver "${DOCKER_ENGINE_STORAGE:-vfs}" >"$dir/dockerd.log" 2>&1 </dev/null &
    engine=$!
    setsid sh "$0" watch "$dir" "$PPID" >/dev/null 2>&1 </dev/null &
    i=0
    while ! curl -fsS --unix-socket "$dir/docker.sock" http://d/_ping >/dev/null 2>&1; do
        i=$((i + 1))
        if [ "$i" -gt 300 ] || ! kill -0 "$engine" 2>/dev/null; then
            tail -5 "$dir/dockerd.log" >&2
            stop
            fail "dockerd does not answer; its log is $dir/dockerd.log"
        fi
        sleep 0.1
    done
    echo "unix://$dir/docker.sock"
}

# A bridge with a network that no other interface has: two engines on docker0 would give out the same addresses.
bridge() {
    name=errand$$
    ip link add name "$name" type bridge || fail "a network bridge cannot be made"
    echo "$name" >"$dir/bridge"
    i=$(($$ % 250))
    while ip -4 -o addr show | grep -q " 10\.213\.$i\."; do i=$(((i + 1) % 250)); done
    ip addr add "10.213.$i.1/24" dev "$name"
    ip link set "$name" up
}

# Waits for the end of the process that started the engine; the folder is gone before where all went well.
watch() {
    while kill -0 "$1" 2>/dev/null && [ -f "$dir/bridge" ]; do sleep 1; done
    [ -f "$dir/bridge" ] || return 0
    stop
    rm -rf "$dir"
}

install() {
    command -v apt-get >/dev/null || fail "there is no apt-get to install $1 with: install it by hand"
    {
        apt-get install -y --no-install-recommends "$1" ||
            { apt-get update && apt-get install -y --no-install-recommends "$1"; }
    } >&2 || fail "Debian's $1 could not be installed"
}

image() {
    tar -C "$2" --owner=0 --group=0 -c . |
        docker -H "unix://$dir/docker.sock" import -c "$3" - "$1" >/dev/null || fail "no image $1 could be made"
}

tools() {
    "$(dirname "$0")/busybox-root.sh" "$dir/tools" || fail "there is no static busybox"
    image "$1" "$dir/tools" "ENV PATH=/bin"
}

stop() {
    end "$dir/docker.pid"
    # dockerd stops its own; only one that had to be killed leaves it behind.
    end "$dir/exec/containerd/containerd.pid"
    while read -r _ mount _; do
        case $mount in "$dir"/*) umount -l "$mount" || true ;; esac
    done </proc/mounts
    if [ -f "$dir/bridge" ]; then
        ip link delete "$(cat "$dir/bridge")" || true
        rm -f "$dir/bridge"
    fi
}

# Ends the process that a file names: asks first, then kills.
end() {
    [ -f "$1" ] || return 0
    pid=$(cat "$1")
    for signal in TERM KILL; do
        kill "-$signal" "$pid" 2>/dev/null || return 0
        i=0
        while kill -0 "$pid" 2>/dev/null && [ "$i" -lt 150 ]; do
            i=$((i + 1))
            sleep 0.1
        done
    done
}

case $action in
start) start ;;
image) image "${3:?a tag}" "${4:?a folder}" "${5:?an instruction}" ;;
tools) tools "${3:?a tag}" ;;
watch) watch "${3:?a process}" ;;
stop) stop ;;
*) fail "unknown action $action" ;;
esac
