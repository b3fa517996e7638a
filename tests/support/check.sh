#!/usr/bin/env bash
# What `make check` runs after the compiler's own checks: stale CRDs, spelling, YAML, shell scripts, the chart, dependencies.
set -euo pipefail
cd "$(dirname "$0")/../.."
tool=tests/support/tool.sh

echo "CRDs: crds/ is what the types say"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$(tests/support/binary.sh)" crds --out "$fresh"
diff -ru crds "$fresh" || {
  echo "crds/ is stale: run 'errand crds --out crds' and commit the result" >&2
  exit 1
}

echo "Spelling: codespell"
git ls-files -z | grep -zvE '^(Cargo\.lock|LICENSE|crds/|tests/fuzz/seeds/)' | xargs -0 "$("$tool" codespell)"

echo "YAML: yamllint"
git ls-files -z '*.yaml' '*.yml' | xargs -0 "$("$tool" yamllint)" --strict

echo "Shell: shellcheck"
git ls-files -z '*.sh' .ci/run | xargs -0 "$("$tool" shellcheck)"

echo "Chart: helm lint, helm template, the schemas of Kubernetes"
tests/support/chart.sh

if cargo deny --version >/dev/null 2>&1; then
  echo "Dependencies: cargo deny"
  cargo deny check
else
  echo "Dependencies: not checked, cargo-deny is not installed (cargo install cargo-deny)"
fi
