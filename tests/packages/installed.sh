#!/bin/bash
# The life of the package on a host where systemd does not run: installed, at work, upgraded, removed, purged.
# Runs inside of a Debian root (chroot), in a network namespace and a cgroup of its own; `cargo xtask packages`
# makes them. Arguments: the package, a newer one, that of the databases, the cgroup, that of geofenced-fleet.
set -euo pipefail
deb=$1 newer=$2 databases=$3 cgroup=$4 fleet=$5

say() { echo "      $*"; }
fail() { echo "FAIL  $*"; exit 1; }
is() { [ "$1" "$2" ] || fail "$3"; }
# Until it succeeds, a minute at most.
until_true() { for _ in $(seq 600); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.1; done; fail "never: $*"; }

started=$(date +%s%N)
dpkg -i "$deb" >/dev/null
is -x /usr/bin/geofenced "no program"
is -f /etc/geofenced/config.toml "no configuration"
is -d /etc/geofenced/config.d "no folder for drop-ins"
is -d /var/lib/geofenced "no folder for the ledger"
getent group geofenced >/dev/null || fail "no group"
[ "$(stat -c %G:%a /var/lib/geofenced)" = geofenced:750 ] || fail "the ledger's folder is $(stat -c %G:%a /var/lib/geofenced)"
is -L /etc/systemd/system/multi-user.target.wants/geofenced.service "not enabled"
is -L /etc/systemd/system/timers.target.wants/geofenced-databases.timer "the timer is not enabled"
for page in man1/geofenced-events.1.gz man5/geofenced-config.5.gz man8/geofenced.8.gz; do
    is -f "/usr/share/man/$page" "no $page"
done
geofenced check >/dev/null || fail "the configuration that comes along is broken"
say "installed"

# As the unit starts it, but for what the test leaves alone of this machine.
printf '[capture]\ncgroup = "%s"\n[metrics]\nlisten = ""\n' "$cgroup" >/etc/geofenced/config.d/test.toml
daemon() {
    (
        umask 027
        exec setpriv --regid "$(getent group geofenced | cut -d: -f3)" --clear-groups \
            geofenced run --last-good /var/lib/geofenced/last-good.json 2>/packages/daemon.log
    ) & pid=$!
    until_true geofenced status
}
violation() { geofenced events -o json --since 1h --destination 203.0.113.1 | grep -q '"unapproved"'; }
daemon
echo hello >/dev/udp/203.0.113.1/9
until_true violation
say "first violation $(( ($(date +%s%N) - started) / 1000000 )) ms after dpkg -i began"
kill "$pid"; wait "$pid" || fail "the daemon did not end well: $(cat /packages/daemon.log)"

echo '# by the administrator' >>/etc/geofenced/config.toml
dpkg -i "$newer" >/dev/null
grep -q administrator /etc/geofenced/config.toml || fail "an upgrade took the configuration"
daemon
violation || fail "an upgrade took the ledger"
kill "$pid"; wait "$pid" || fail "the daemon did not end well after the upgrade"
say "upgraded, with what was seen before"

# Of the same date those inside the program are used; damaged, a file is passed over and told of.
dpkg -i "$databases" >/dev/null
geofenced databases update /usr/share/geofenced/databases 2>&1 | grep -q 'nothing is newer in .*country.bin, .*operator.bin' ||
    fail "of the package of databases is told: $(geofenced databases update /usr/share/geofenced/databases 2>&1)"
head -c 1000 /usr/share/geofenced/databases/operator.bin >/var/lib/geofenced/operator.bin
mkdir -p /var/lib/geofenced/databases
mv /var/lib/geofenced/operator.bin /var/lib/geofenced/databases/
geofenced databases 2>&1 | grep -q 'databases/operator.bin is not used: ' || fail "a damaged database is not told of"
dpkg -P geofenced-databases >/dev/null
say "databases of a package of their own"

# What carries the ledger is a package of its own, and does nothing by itself.
dpkg -i "$fleet" >/dev/null
is -f /usr/lib/systemd/system/geofenced-ship.service "no unit that ships"
if find /etc/systemd -name geofenced-ship.service | grep -q .; then fail "it ships before anybody said where to"; fi
for page in geofenced-fleet geofenced-fleet-ship geofenced-fleet-collect; do
    is -f "/usr/share/man/man1/$page.1.gz" "no manual of $page"
done
is -f /usr/share/geofenced-fleet/duckdb/lake.sql "no views of the lake"
mkdir /packages/stick
# As its unit has it: a user of nobody, in the group that may read the ledger.
chown nobody /packages/stick
setpriv --reuid nobody --regid nogroup --groups "$(getent group geofenced | cut -d: -f3)" --inh-caps=-all \
    geofenced-fleet ship --store /var/lib/geofenced --state /packages/stick/.state --to /packages/stick --once ||
    fail "who is in the group can't ship"
find /packages/stick -path '*/leaves/*' | grep -q . || fail "nothing was shipped"
dpkg -P geofenced-fleet >/dev/null
if [ -e /usr/bin/geofenced-fleet ] || [ -e /usr/share/geofenced-fleet ]; then fail "purged, and the shipper is there"; fi
say "the shipper installed, at work as nobody, and purged"

dpkg -r geofenced >/dev/null
if [ -e /usr/bin/geofenced ]; then fail "removed, and still there"; fi
is -f /etc/geofenced/config.toml "a removal took the configuration"
is -d /var/lib/geofenced/ledger "a removal took the ledger"
say "removed; configuration and ledger stay"

dpkg -P geofenced >/dev/null
for path in /etc/geofenced /var/lib/geofenced /run/geofenced /usr/share/geofenced; do
    if [ -e "$path" ]; then fail "purged, and $path is there"; fi
done
left=$(find / -xdev -name '*geofenced*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/packages/*' | sort)
[ -z "$left" ] || fail "purged, and left: $left"
say "purged without a trace"
