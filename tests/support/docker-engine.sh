#!/bin/sh
# A Docker engine of one's own for tests, beside any other on the machine.
#
#   docker-engine.sh start DIR   starts dockerd with its data, state and socket under DIR; prints the socket's address
#   docker-engine.sh stop DIR    stops it
#   docker-engine.sh busybox DIR  prints the path of a static busybox, to build images from
#
# Needs root. Installs Debian's docker.io and busybox-static where they are missing.
set -eu

action=${1:?start or stop}
dir=${2:?a folder}

fail() {
    echo "docker-engine.sh: $1" >&2
    exit 1
}

start() {
    [ "$(id -u)" = 0 ] || fail "starting dockerd needs root; run the tests as root or unset the variable that asks for them"
    command -v dockerd >/dev/null || install docker.io
    command -v curl >/dev/null || install curl
    mkdir -p "$dir"
    # No bridge or iptables of the host's default engine is touched: an own bridge name would need its own set-up,
    # so containers get the default bridge only when no other dockerd holds it.
    dockerd --data-root "$dir/data" --exec-root "$dir/exec" -H "unix://$dir/docker.sock" -p "$dir/docker.pid" \
        --storage-driver "${DOCKER_ENGINE_STORAGE:-vfs}" >"$dir/dockerd.log" 2>&1 </dev/null &
    i=0
    while ! curl -fsS --unix-socket "$dir/docker.sock" http://d/_ping >/dev/null 2>&1; do
        i=$((i + 1))
        if [ "$i" -gt 300 ] || ! kill -0 $! 2>/dev/null; then
            tail -5 "$dir/dockerd.log" >&2
            fail "dockerd does not answer; its log is $dir/dockerd.log"
        fi
        sleep 0.1
    done
    echo "unix://$dir/docker.sock"
}

install() {
    command -v apt-get >/dev/null || fail "there is no apt-get to install $1 with: install it by hand"
    {
        apt-get install -y --no-install-recommends "$1" ||
            { apt-get update && apt-get install -y --no-install-recommends "$1"; }
    } >&2 || fail "Debian's $1 could not be installed"
}

busybox() {
    [ -x /bin/busybox ] || install busybox-static
    # The other package of busybox is linked dynamically and of no use in an empty image.
    if ldd /bin/busybox >/dev/null 2>&1; then install busybox-static; fi
    echo /bin/busybox
}

stop() {
    [ -f "$dir/docker.pid" ] || return 0
    pid=$(cat "$dir/docker.pid")
    kill "$pid" 2>/dev/null || return 0
    i=0
    while kill -0 "$pid" 2>/dev/null && [ "$i" -lt 150 ]; do
        i=$((i + 1))
        sleep 0.1
    done
}

case $action in
start) start ;;
busybox) busybox ;;
stop) stop ;;
*) fail "unknown action $action" ;;
esac
