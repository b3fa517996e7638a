#!/usr/bin/env bash
# Runs each fuzz target, or those whose names contain ERRAND_FUZZ_TARGETS, for ERRAND_FUZZ_SECONDS (60), and prints what came
# of it. An input that breaks a property is put among the seeds, so that `make test` fails until it is mended. What else is
# found on the way is kept below the target folder, and a later run goes on from there.
set -euo pipefail
cd "$(dirname "$0")/../.."
readonly seconds="${ERRAND_FUZZ_SECONDS:-60}" wanted="${ERRAND_FUZZ_TARGETS:-}"

fail() {
  echo "$0: $*" >&2
  exit 1
}

# As `cargo fuzz` does it, but without a sanitizer, since those take a nightly compiler. In place of the flags that make
# binaries static: libFuzzer looks for the functions that it stands before in a shared libc.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module"
for part in level=4 inline-8bit-counters pc-table trace-compares stack-depth; do
  RUSTFLAGS+=" -Cllvm-args=-sanitizer-coverage-$part"
done
export RUSTFLAGS
tests=$(cargo test --lib --no-run --config tests/fuzz/profile.toml --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$tests" ] || fail "cargo built no tests"

# Also what an input leaves behind that ends the process.
work=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/errand-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
found="$(dirname "$tests")/fuzz"
code=0
for seeds in tests/fuzz/seeds/*/; do
  name=$(basename "$seeds")
  [[ "$name" == *"$wanted"* ]] || continue
  test=$("$tests" --list | sed -n "s/^\(.*::fuzz::$name\): test$/\1/p")
  [ -n "$test" ] || fail "$seeds has no target: a test $name in a module fuzz"
  mkdir -p "$found/$name"
  arguments=$(printf '%s\n' "$found/$name" "$seeds" "-artifact_prefix=$seeds" "-max_total_time=$seconds" -timeout=20)
  if TMPDIR="$work" ERRAND_FUZZ_ARGUMENTS="$arguments" "$tests" "$test" --exact --nocapture >"$found/$name.log" 2>&1; then
    echo "$name: $(grep -E '^#[0-9]+[[:space:]]+DONE' "$found/$name.log")"
  else
    code=1
    tail -n 40 "$found/$name.log" >&2
    echo "$name: FAILED, see $found/$name.log and the new file in $seeds" >&2
  fi
done
exit "$code"
