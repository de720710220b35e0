#!/usr/bin/env bash
# storescpctl with the real stages: start, second start, scale, a killed stage, a killed supervisor (its stages must live on and be
# adopted), drain, wrong settings. Usage: control_test.sh BUILD_DIR. No AWS is needed: nothing listens on the endpoint.
set -u
bin=$(cd "${1:-build}/bin" && pwd) || exit 2
ctl=$bin/storescpctl
home=$(mktemp -d)
bad=0
up=""
clean() { # only what belongs to this home, by the numbers in its lock files
  [ -z "$up" ] || kill -KILL "$up" 2>/dev/null
  for w in $(living); do kill -KILL "${w#*:}" 2>/dev/null; done
  rm -rf "$home" "$home".out "$home".log "$home".config "$home".second "$home".status
}
trap clean EXIT
ok() { echo "ok   $1"; }
no() { echo "FAIL $1"; bad=1; }
check() { local name=$1; shift; if "$@"; then ok "$name"; else no "$name"; fi; }
# stage:pid of every worker whose lock is held
living() {
  local f base
  for f in "$home"/state/workers/*.lock; do
    [ -e "$f" ] || continue
    flock -n -s "$f" true || { base=$(basename "$f"); echo "${base%%-*}:$(cat "$f" 2>/dev/null)"; }
  done
}
count() { living | grep -c "^$1:"; }
until_true() { # seconds command...
  local end=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done
}
count_is() { [ "$(count "$1")" = "$2" ]; }
start() { # starts `up` in the background and waits for its line
  : >"$home.out"
  "$ctl" --home "$home" up $counts >"$home.out" 2>>"$home.log" &
  up=$!
  until_true 20 grep -qx ready "$home.out"
}
stop() { kill -TERM "$up"; wait "$up"; local rc=$?; up=""; return $rc; }

port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("",0)); print(s.getsockname()[1])')
cat >"$home/storescp.conf" <<CONF
scp_port = $port
drain_s = 5
sweep_ms = 100
dicom_bucket = control-test
datastore_id = 12345678901234567890123456789012
data_access_role_arn = arn:aws:iam::123456789012:role/test
endpoint_url = http://127.0.0.1:1
aws_access_key_id = test
aws_secret_access_key = hidden-word
CONF
counts=""
for stage in receiver validator uploader importer; do
  if [ -x "$bin/storescp-$stage" ]; then counts="$counts --${stage}s 1"; else counts="$counts --${stage}s 0"; echo "left out: $stage is not built"; fi
done
unset SCP_PORT STORESCP_HOME

"$ctl" --home "$home" config >"$home.config"; check "config: exit 0 when all is well" [ $? = 0 ]
check "config: the secret is hidden" sh -c "! grep -q hidden-word '$home.config'"
"$ctl" --home "$home" bogus 2>/dev/null; check "unknown command: exit 2" [ $? = 2 ]
"$ctl" --home "$home" scale uploader 1 2>/dev/null; check "scale without up: exit 1" [ $? = 1 ]
for press in "retry ALL" "close X" "move away default" "events drop webhook"; do
  "$ctl" --home "$home" $press 2>"$home.second"; check "$press on a home without a database: exit 1, and a sentence that says so" [ $? = 1 -a -n "$(grep 'there is no .*state.db' "$home.second")" ]
done
check "none was made" [ ! -e "$home/state/state.db" ]

check "up says ready" start
check "the home is closed to others" [ "$(stat -c %a "$home/state")$(stat -c %a "$home/run")$(stat -c %a "$home/spool")" = 700700700 ]
"$ctl" --home "$home" up 2>"$home.second"; check "second up: exit 1" [ $? = 1 ]
check "second up: says why" grep -q 'runs on' "$home.second"

"$ctl" --home "$home" scale receivers 3 >/dev/null; check "scale up to 3" until_true 10 count_is receiver 3
first=$(living | grep ^receiver: | sort -t: -k2n | head -1)
"$ctl" --home "$home" scale receiver 1 >/dev/null; check "scale down to 1" until_true 10 count_is receiver 1
check "the oldest stays" [ "$(living | grep ^receiver:)" = "$first" ]
"$ctl" --home "$home" scale receiver 65 2>/dev/null; check "65 is too many: exit 2" [ $? = 2 ]
"$ctl" --home "$home" scale receiver 2 >/dev/null; until_true 10 count_is receiver 2

one=$(living | grep ^receiver: | head -1); kill -KILL "${one#*:}"
replaced() { # one look: the dead one may still be counted in a first of two
  local now; now=$(living)
  [ "$(grep -c '^receiver:' <<<"$now")" = 2 ] && ! grep -qx "$one" <<<"$now"
}
check "a killed stage is replaced" until_true 10 replaced

if "$ctl" --help | grep -q '^  status'; then
  "$ctl" --home "$home" status --json >"$home.status"
  check "status --json tells the contract" python3 - "$home.status" <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))
assert s["schema"] == 1 and s["supervisor"] is True and s["spool"]["free_bytes"] > 0
assert set(s["states"]) == set("received validated uploaded importing imported stored duplicate quarantined failed".split())
assert set(s["stages"]) == {"receiver", "validator", "uploader", "importer"}
assert s["stages"]["receiver"]["workers"] == 2 == len(s["stages"]["receiver"]["alive"])
assert all(set(w) == {"name", "pid", "status"} for w in s["stages"]["receiver"]["alive"])
assert set(s["batches"]) == {"open", "closed", "starting", "running", "reconciling", "done"}
PY
  "$ctl" --home "$home" status >"$home.status"; check "status for people" grep -q '^receiver  *2  *2 ' "$home.status"
  "$ctl" --home "$home" studies >/dev/null; check "studies: exit 0 with none" [ $? = 0 ]
  "$ctl" --home "$home" show 1.2.3.4 2>/dev/null; check "show: exit 1 for an unknown UID" [ $? = 1 ]
  "$ctl" --home "$home" why 1.2.3.4 2>/dev/null; check "why: exit 1 for an unknown UID" [ $? = 1 ]
  "$ctl" --home "$home" retry ALL >/dev/null 2>&1; check "retry: exit 1 when there is nothing" [ $? = 1 ]
fi

other=$home.other; mkdir -p "$other"; cp "$home/storescp.conf" "$other/"
"$ctl" --home "$other" up >/dev/null 2>"$home.second"; check "another home on the same port is refused" [ $? = 1 ]
check "and told which setting to change" grep -q "port $port is in use.*scp_port" "$home.second"
"$ctl" --home "$other" stuck 2>"$home.second"; check "stuck: exit 1 without a database" [ $? = 1 ]
check "and names the home" grep -q "$other/state/state.db.*--home" "$home.second"
rm -rf "$other"

before=$(living | sort)
kill -KILL "$up"; wait "$up" 2>/dev/null; up=""
sleep 1
check "the stages outlive their supervisor" [ "$(living | sort)" = "$before" ]
check "a new up says ready" start
check "it adopted them all" [ "$(living | sort)" = "$before" ]
check "and keeps the scaled count" grep -qx 'receiver=2' "$home/run/wanted"
one=$(living | grep ^receiver: | head -1); kill -KILL "${one#*:}"
check "an adopted one that dies is replaced" until_true 10 replaced
"$ctl" --home "$home" scale receiver 0 >/dev/null; check "adopted ones are drained" until_true 10 count_is receiver 0
"$ctl" --home "$home" scale receiver 1 >/dev/null; until_true 10 count_is receiver 1
check "SIGTERM: exit 0" stop
check "nobody is left" [ -z "$(living)" ]
if "$ctl" --help | grep -q '^  status'; then
  "$ctl" --home "$home" status --json | python3 -c 'import json,sys; s=json.load(sys.stdin); assert s["supervisor"] is False'
  check "status with everything stopped" [ $? = 0 ]
fi
check "a fresh up" start
check "follows the settings again" grep -qx 'receiver=1' "$home/run/wanted"
check "stops" stop

echo 'scp_prot = 1' >>"$home/storescp.conf"
"$ctl" --home "$home" config >/dev/null 2>"$home.second"; check "config: exit 1 for a typo" [ $? = 1 ]
check "config: names the typo" grep -q scp_prot "$home.second"
"$ctl" --home "$home" up >/dev/null 2>"$home.second"; check "up: refuses wrong settings" [ $? = 1 ]
check "up: names the typo" grep -q scp_prot "$home.second"
[ $bad = 0 ] || { echo "---- log of the supervisor"; tail -40 "$home.log"; }

exit $bad
