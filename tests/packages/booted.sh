#!/bin/bash
# The life of the package in a machine that systemd boots: installed, at work, its daemon killed, its configuration
# broken; booted again; its power cut; upgraded, disabled, removed, purged. A unit of the machine's starts this at
# each boot, and it ends each boot. Arguments: the package, a newer one.
set -uo pipefail
deb=$1 newer=$2
port=/dev/ttyS1
[ -c /dev/ttyAMA0 ] && port=/dev/ttyAMA0
exec >$port 2>&1

say() { echo "      $*"; }
# The end of the journal says why; the machine ends, too.
fail() {
    echo "FAIL  $*"
    geofenced status | sed 's/^/| /'
    journalctl -b -u geofenced --no-pager -o cat | tail -30 | sed 's/^/| /'
    systemctl poweroff --force --force
    sleep infinity
}
# Until it succeeds, two minutes of an emulated machine's at most.
until_true() { for _ in $(seq 240); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.5; done; fail "never: $*"; }
shown() { systemctl show geofenced.service --property "$1" --value; }
is() { [ "$1" = "$2" ] || fail "$3: $1, not $2"; }
active() { [ "$(shown ActiveState)" = active ]; }
answers() { geofenced status -o json; }
has() { answers | grep -qF "$1"; }
is_another() { active && [ "$(shown MainPID)" != "$pid" ] && [ "$(shown NRestarts)" != 0 ]; }
egress() { echo hello >/dev/udp/203.0.113.1/9; }
stored() { geofenced events -o json --since 30d --destination 203.0.113.1 | grep -q '"unapproved"'; }
# A host with a network that leads nowhere.
network() {
    ip link add d0 type veth peer name d1
    ip addr add 192.0.2.1/24 dev d0
    ip link set d1 up
    ip link set d0 up arp off
    ip route add default dev d0
}
# What systemd and the daemon would have a person look at, but for what is so on this machine: its clock is nobody's,
# and its databases come from a package that is older than today.
quiet() {
    local said
    said=$(journalctl -b -u geofenced -p warning --no-pager -q -o cat | grep -vE "$1")
    [ -z "$said" ] || fail "the journal warns: $said"
}

# The timer's service does nothing where nothing is newer; else the daemon judges by it at once.
databases() {
    is "$(systemctl is-active geofenced-databases.timer)" active "the timer of databases"
    systemctl start geofenced-databases.service || fail "with nothing newer it fails"
    [ ! -e /var/lib/geofenced/databases/country.bin ] || fail "an older database was taken"
    printf '[geo]\nupdate_from = ["/packages/databases"]\n' >/etc/geofenced/config.d/databases.toml
    systemctl start geofenced-databases.service || fail "$(journalctl -u geofenced-databases --no-pager -o cat | tail -5)"
    local hash
    hash=$(sha256sum /packages/databases/country.bin | cut -d ' ' -f 1)
    until_true has "$hash"
    say "a newer database was taken, and the daemon judges by it"
}

installed() {
    network
    local started
    started=$(date +%s%N)
    dpkg -i "$deb" >/dev/null || fail "can't be installed"
    is "$(systemctl is-enabled geofenced)" enabled "enabled"
    until_true active
    until_true answers
    egress
    until_true stored
    say "first violation $(( ($(date +%s%N) - started) / 1000000 )) ms after dpkg -i began"
    is "$(shown NRestarts)" 0 "started again"
    local blind
    blind=$(answers | grep -oE '"name":"[a-z_]+","attached":false' || true)
    [ -z "$blind" ] || fail "not attached in the unit's sandbox: $blind"
    local told mounted
    told=$(geofenced doctor -o json 2>/dev/null | grep -oE '"tier":"[a-z]+"' | head -1)
    mounted=$(answers | grep -oE '"tier":"[a-z]+"' | head -1)
    is "$mounted" "$told" "the service's tier"
    quiet 'clock|database|days old|nothing is approved|violation:'
    say "at work in its sandbox: $told, $(systemctl show geofenced -p MemoryCurrent --value) bytes of memory"

    databases
    systemctl reload geofenced || fail "a good configuration fails the reload"
    cp /etc/geofenced/config.toml /packages/good.toml
    echo '[policy' >>/etc/geofenced/config.toml
    pid=$(shown MainPID)
    if systemctl reload geofenced 2>/dev/null; then fail "a broken configuration does not fail the reload"; fi
    is "$(shown MainPID)" "$pid" "after a failed reload its pid"
    systemctl restart geofenced || fail "does not start with a broken configuration"
    until_true has '"commit"'
    answers | grep -qi 'last good\|fallback' || fail "status does not say that the configuration is broken: $(answers)"
    say "a broken configuration: the reload fails, a start takes the last good one and says so"
    cp /packages/good.toml /etc/geofenced/config.toml
    systemctl reload geofenced || fail "a mended configuration fails the reload"

    pid=$(shown MainPID)
    kill -KILL "$pid"
    until_true is_another
    until_true answers
    say "killed: started again by systemd"

    if geofenced demo --help >/dev/null 2>&1; then
        timeout 900 geofenced demo >/packages/demo.out 2>&1 || { sed 's/^/| /' /packages/demo.out; fail "the demo"; }
        grep -q unapproved /packages/demo.out || { sed 's/^/| /' /packages/demo.out; fail "the demo shows no violation"; }
        say "the demo shows $(grep -c unapproved /packages/demo.out) lines of violations"
    fi
    echo again >/packages/phase
    sync
    echo done
    systemctl reboot
}

booted_again() {
    until_true active
    until_true answers
    local cycles
    cycles=$(journalctl -b --no-pager -q -o cat | grep -i 'ordering cycle' || true)
    [ -z "$cycles" ] || fail "an ordering cycle: $cycles"
    local watched began
    watched=$(systemctl show geofenced -p ActiveEnterTimestampMonotonic --value)
    began=$(systemctl show network-pre.target -p ActiveEnterTimestampMonotonic --value)
    [ "$began" != 0 ] || fail "network-pre.target was never reached"
    [ "$watched" -le "$began" ] || fail "watches from $watched us on, and the network may from $began us"
    stored || fail "what was stored before is not there"
    geofenced coverage --since 30d | sed 's/^/| /'
    network
    geofenced verify /var/lib/geofenced --key /var/lib/geofenced/key.pub >/packages/verify.out 2>&1
    grep -qiE 'altered|broken|forged' /packages/verify.out && { sed 's/^/| /' /packages/verify.out; fail "verify"; }
    say "booted again: it watches $(( (began - watched) / 1000 )) ms before the network may begin"
    echo cut >/packages/phase
    sync
    egress
    until_true stored
    echo done
    # Until the port has said it. Nothing is synced, nobody is told.
    sleep 2
    echo b >/proc/sysrq-trigger
    sleep infinity
}

lost_its_power() {
    until_true active
    until_true answers
    stored || fail "what was stored before the power was cut is not there"
    local code
    geofenced verify /var/lib/geofenced --key /var/lib/geofenced/key.pub >/packages/verify.out 2>&1
    code=$?
    [ $code = 0 ] || [ $code = 4 ] || { sed 's/^/| /' /packages/verify.out; fail "verify ends with $code"; }
    geofenced coverage --since 30d | tail -5 | sed 's/^/| /'
    say "its power was cut: what was stored is there, verify ends with $code"

    local first
    first=$(shown ExecMainStartTimestampMonotonic)
    dpkg -i "$newer" >/dev/null || fail "can't be upgraded"
    for _ in $(seq 240); do [ "$(shown ExecMainStartTimestampMonotonic)" != "$first" ] && active && break; sleep 0.5; done
    [ "$(shown ExecMainStartTimestampMonotonic)" != "$first" ] || fail "not restarted by an upgrade"
    until_true answers
    stored || fail "an upgrade took the ledger"
    say "upgraded: started again, with what was seen before"

    systemctl disable --now geofenced >/dev/null 2>&1
    dpkg -i "$deb" >/dev/null 2>&1 || fail "can't be put back"
    is "$(systemctl is-enabled geofenced)" disabled "after an upgrade of what was disabled by hand"
    say "disabled by hand: stays so"

    systemctl start geofenced || fail "does not start"
    dpkg -r geofenced >/dev/null || fail "can't be removed"
    [ ! -e /run/geofenced/geofenced.sock ] || fail "removed, and its socket is there"
    systemctl cat geofenced >/dev/null 2>&1 && fail "removed, and systemd knows the unit"
    dpkg -P geofenced >/dev/null || fail "can't be purged"
    [ ! -e /var/lib/geofenced ] || fail "purged, and the ledger is there"
    say "removed and purged"
    echo done
    sync
    systemctl poweroff --force
}

case $(cat /packages/phase 2>/dev/null) in
again) booted_again ;;
cut) lost_its_power ;;
*) installed ;;
esac
