#!/usr/bin/env bash
# Gets Chromium for the tests of pages, the report and the explorer, where apt can: as root, on Debian and its kin. Never a failure:
# without it those tests say what is missing and are skipped. MTMH_NO_BROWSER=1 leaves the machine as it is.
set -u

say() { printf 'browser: %s\n' "$*"; }

for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
if [[ ${MTMH_NO_BROWSER:-0} != 0 ]]; then
  say "not installed, as MTMH_NO_BROWSER says; the report and the explorer stay unseen by a browser"
  exit 0
fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  say "no chromium on PATH; the report and the explorer stay unseen by a browser (apt install chromium, then run again)"
  exit 0
fi
say "installing chromium, for the tests of pages (report, explorer)"
export DEBIAN_FRONTEND=noninteractive
get() { timeout 600 apt-get install -y --no-install-recommends chromium >/dev/null 2>&1; }
get || { timeout 300 apt-get update >/dev/null 2>&1 && get; } || say "apt cannot install it; those tests are skipped"
exit 0
