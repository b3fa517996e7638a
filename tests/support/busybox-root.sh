#!/bin/sh
# busybox-root.sh ROOT: fills the folder with a static busybox and what programs expect to find in a container.
set -eu
root=${1:?a folder}

# Debian's other package of busybox is linked dynamically and of no use in an empty image.
if [ ! -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then
    apt-get install -y --no-install-recommends busybox-static >&2 ||
        { apt-get update >&2 && apt-get install -y --no-install-recommends busybox-static >&2; }
fi
for part in bin tmp proc sys dev etc www; do mkdir -p "$root/$part"; done
chmod 1777 "$root/tmp"
cp /bin/busybox "$root/bin/busybox"
for name in sh cat echo sleep dd httpd wget ls touch grep id hostname mount umount yes head tail date seq env kill true; do
    ln -sf busybox "$root/bin/$name"
done
echo served >"$root/www/index.html"
