#!/bin/sh
# Runs one of the browser's tests; skips (77) where node is missing. The scripts skip without a browser.
command -v node >/dev/null 2>&1 || { echo "skipped: no node here"; exit 77; }
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
script=$1
shift
node "$script" "$@" "$scratch"
