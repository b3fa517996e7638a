#!/usr/bin/env bash
# Checks the Helm chart: lint, rendering with each file of charts/errand/ci, and what comes out against the schemas of
# Kubernetes, the definitions too. tests/chart/ looks at what the objects say.
set -euo pipefail
cd "$(dirname "$0")/../.."
chart=charts/errand
helm=$(tests/support/tool.sh helm)
validate=$(tests/support/tool.sh kubernetes-validate)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

fail() {
  echo "$chart: $*" >&2
  exit 1
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
for key in version appVersion; do
  grep -qx "$key: $version" "$chart/Chart.yaml" || fail "$key in Chart.yaml is not $version, the version in Cargo.toml"
done

# validate KUBERNETES FILE...: against the schemas of that version. It only warns of a type without a schema, which is right
# for those of others and nothing else.
validate() {
  local kubernetes=$1 said
  shift
  said=$("$validate" --strict --kubernetes-version "$kubernetes" "$@") || {
    grep -v '^INFO' <<<"$said" >&2
    fail "objects do not fit the schemas of Kubernetes $kubernetes"
  }
  said=$(grep -v -e '^INFO' -e 'kind ServiceMonitor' <<<"$said") || return 0
  fail "$said"
}

for values in "$chart"/ci/*.yaml; do
  name=$(basename "$values" .yaml)
  "$helm" lint "$chart" --strict --values "$values" >"$out/lint" || {
    cat "$out/lint" >&2
    fail "helm lint with $values failed"
  }
  for kubernetes in 1.25 1.33 1.37; do
    "$helm" template errand "$chart" --namespace errand-system --kube-version "v$kubernetes.0" --values "$values" \
      >"$out/$name.yaml"
    validate "$kubernetes" "$out/$name.yaml"
  done
done
validate 1.33 crds/*.yaml
