#!/usr/bin/env bash
# Makes and removes the Secrets of Diego's door.
#
#   certificates.sh NAMESPACE            makes them where they are not there yet
#   certificates.sh --remove NAMESPACE
#
# errand-e2e-diego has what the facade shows, and the authority of its clients. errand-e2e-authority has that authority with
# its key, for tests that sign the certificates of clients.
set -euo pipefail
cd "$(dirname "$0")/.."
namespace=${*: -1}
kubectl=$(tests/support/tool.sh kubectl)
secrets=(--namespace "$namespace" secret errand-e2e-diego errand-e2e-authority)

if [ "$1" = --remove ]; then
  exec "$kubectl" delete --ignore-not-found "${secrets[@]}"
fi
if "$kubectl" get "${secrets[@]}" >/dev/null 2>&1; then
  exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${key[@]}" -days 30 -subj /CN=errand-e2e -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
openssl req -new "${key[@]}" -subj /CN=errand-facade -keyout "$work/tls.key" -out "$work/tls.csr" 2>/dev/null
openssl x509 -req -days 30 -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial \
  -extfile <(echo "subjectAltName=DNS:errand-facade.$namespace.svc") -out "$work/tls.crt" 2>/dev/null

apply() { "$kubectl" create --dry-run=client -o yaml "$@" | "$kubectl" apply -f - >&2; }
apply namespace "$namespace"
apply secret generic errand-e2e-diego --namespace "$namespace" \
  --from-file="$work/ca.crt" --from-file="$work/tls.crt" --from-file="$work/tls.key"
apply secret generic errand-e2e-authority --namespace "$namespace" \
  --from-file="$work/ca.crt" --from-file="$work/ca.key"
