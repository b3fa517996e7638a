#!/usr/bin/env bash
# packages.sh NAME...: installs those of the named Debian packages that are missing.
set -euo pipefail

missing=()
for name in "$@"; do
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "packages.sh: needs ${missing[*]}: install them, or run this as root on Debian" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
"${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; } || {
  echo "packages.sh: Debian's ${missing[*]} could not be installed" >&2
  exit 1
}
