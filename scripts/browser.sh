#!/usr/bin/env bash
# Gets Chromium for the test of the report's page, where apt can: as root, on Debian and its kin. Never a failure:
# without it that test says what is missing and is skipped.
set -u

say() { printf 'browser: %s\n' "$*"; }

for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  say "no chromium on PATH; the report's page stays unseen by a browser (apt install chromium, then run again)"
  exit 0
fi
say "installing chromium, for the test of the report's page"
export DEBIAN_FRONTEND=noninteractive
get() { timeout 600 apt-get install -y --no-install-recommends chromium >/dev/null 2>&1; }
get || { timeout 300 apt-get update >/dev/null 2>&1 && get; } || say "apt cannot install it; that test is skipped"
exit 0
