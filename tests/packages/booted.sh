#!/bin/bash
# The same under systemd, in a container that it has booted: what the maintainer scripts have it do. In a
# container the daemon has other process ids than the host and refuses, with exit code 5, so that the service is
# up for a moment only. Arguments: the package, a newer one.
set -euo pipefail
deb=$1 newer=$2

say() { echo "      $*"; }
fail() { echo "FAIL  $*"; journalctl -u geofenced --no-pager | tail -20; exit 1; }
shown() { systemctl show geofenced.service --property "$1" --value; }

dpkg -i "$deb" >/dev/null
[ "$(systemctl is-enabled geofenced)" = enabled ] || fail "not enabled"
for _ in $(seq 600); do [ "$(shown ExecMainStatus)" = 5 ] && break; sleep 0.1; done
[ "$(shown ExecMainStatus)" = 5 ] || fail "was not started, or ended with $(shown ExecMainStatus)"
[ "$(shown NRestarts)" = 0 ] || fail "started again, where that can't help"
say "installed: enabled, started, and down for the reason that it gives"

first=$(shown ExecMainStartTimestampMonotonic)
dpkg -i "$newer" >/dev/null
for _ in $(seq 600); do [ "$(shown ExecMainStartTimestampMonotonic)" != "$first" ] && break; sleep 0.1; done
[ "$(shown ExecMainStartTimestampMonotonic)" != "$first" ] || fail "not restarted by an upgrade"
say "upgraded: started again"

systemctl disable geofenced >/dev/null 2>&1
dpkg -i "$deb" >/dev/null 2>&1 || fail "can't be put back"
[ "$(systemctl is-enabled geofenced)" = disabled ] || fail "an upgrade enabled what was disabled"
say "disabled by hand: stays so"

dpkg -r geofenced >/dev/null
systemctl cat geofenced >/dev/null 2>&1 && fail "removed, and systemd knows the unit"
dpkg -P geofenced >/dev/null
[ ! -e /var/lib/geofenced ] || fail "purged, and the ledger is there"
say "removed and purged"
