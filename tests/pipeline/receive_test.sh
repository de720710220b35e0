#!/usr/bin/env bash
# receive_test BUILD_DIR - real processes: DCMTK's tools send, receiver and validators take; every acknowledged instance has a row and
# ends 'validated' or with a reason; nothing is left over. Killing everything with SIGKILL loses nothing that was acknowledged.
set -euo pipefail
build=$1
here=$(cd "$(dirname "$0")" && pwd)
shared=${SHARED_DIR:-$here/../../../shared}
home=$(mktemp -d /tmp/receive_test.XXXXXX)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
pids=()
stop() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; pids=(); }
trap 'stop; rm -rf "$home"' EXIT
printf 'scp_port = %s\n' "$port" > "$home/storescp.conf"
start() {
  "$build/bin/storescp-receiver" --home "$home" 2>>"$home/log" & pids+=($!)
  "$build/bin/storescp-validator" --home "$home" 2>>"$home/log" & pids+=($!)
  "$build/bin/storescp-validator" --home "$home" 2>>"$home/log" & pids+=($!)
  for _ in $(seq 300); do echoscu 127.0.0.1 "$port" 2>/dev/null && return; sleep 0.1; done
  echo "the receiver does not answer C-ECHO"; tail -5 "$home/log"; exit 1
}
sql() { sqlite3 -readonly "$home/state/state.db" "$1"; }
settle() { for _ in $(seq 100); do [ "$(sql "SELECT count(*) FROM instance WHERE state = 'received'")" = 0 ] && return; sleep 0.1; done
  echo "instances stay 'received'"; sql "SELECT * FROM v_stuck"; exit 1; }
same() { [ "$1" = "$2" ] || { echo "$3: expected $2, got $1"; exit 1; }; }

start
if [ -d "$shared/dicom/open/files" ]; then
  acknowledged=0
  for f in "$shared"/dicom/open/files/PACSMAN* "$shared"/dicom/open/files/dcmqi__0* "$shared"/dicom/open/files/*HTJ2K* \
           "$shared"/dicom/made/files/* "$shared"/dicom/hostile/files/nest-* "$shared"/dicom/hostile/files/uid-*; do
    if timeout 30 python3 "$shared/dicom/tools/rawstore.py" 127.0.0.1 "$port" "$f" --timeout 10 2>&1 | grep -q 'status 0x0000'; then
      acknowledged=$((acknowledged + 1))
    else
      echo "not acknowledged: $f"; exit 1
    fi
  done
  settle
  same "$(sql 'SELECT count(*) FROM instance')" "$acknowledged" "rows for acknowledged instances"
  same "$(sql "SELECT count(*) FROM instance WHERE state = 'quarantined' AND (error_code IS NULL OR error_text IS NULL OR remedy IS NULL)")" 0 \
    "quarantined without code, reason or remedy"
  same "$(sql "SELECT count(*) FROM instance WHERE transfer_syntax_uid = '1.2.840.10008.1.2.4.201'")" 1 "HTJ2K instances"
  same "$(sql "SELECT count(DISTINCT error_code) FROM instance WHERE error_code = 'DICOM_LIMIT'")" 1 "deep nesting is a limit, no crash"
  # bit-preserving: the spool file's data set is what was sent
  f=$shared/dicom/open/files/PACSMAN_data__slice0.dcm
  id=$(sql "SELECT id FROM instance WHERE sop_instance_uid = '1.2.826.0.1.3680043.8.498.63587478150879461631553886771021795799'")
  bytes=$(sql "SELECT data_bytes FROM instance WHERE id = '$id'")
  same "$(tail -c "$bytes" "$home/spool/obj/$id.dcm" | sha256sum)" "$(tail -c "$bytes" "$f" | sha256sum)" "data set bytes"
else
  echo "left out: real files; $shared is not here"
fi

# SIGKILL everything in the middle of a stream of instances, start again: each success has its row and its whole file
python3 "$here/../lib/make_dicom.py" "$home/in" 60 65536
( for f in "$home"/in/*.dcm; do storescu 127.0.0.1 "$port" "$f" 2>/dev/null && basename "$f" .dcm >> "$home/acknowledged"; done || true ) & sender=$!
sleep 1
for p in "${pids[@]}"; do kill -9 "$p"; done
wait "${pids[@]}" 2>/dev/null || true; pids=()
wait "$sender" || true
start
for f in "$home"/in/*.dcm; do grep -qx "$(basename "$f" .dcm)" "$home/acknowledged" || storescu 127.0.0.1 "$port" "$f"; done
settle
for uid in $(ls "$home/in" | sed 's/\.dcm$//'); do
  same "$(sql "SELECT count(*) FROM instance WHERE sop_instance_uid = '$uid' AND state = 'validated'")" 1 "validated rows of $uid"
done
stop
same "$(sql 'PRAGMA integrity_check')" ok integrity
same "$(sql 'SELECT count(*) FROM instance WHERE owner IS NOT NULL')" 0 "claims left after a drain"
same "$(sql 'SELECT count(*) FROM worker')" 0 "workers left after a drain"
if grep -qi 'patient' "$home/log"; then echo "the log speaks of patients"; exit 1; fi
# a receiver that is told to refuse for want of space answers A700 and leaves nothing behind
before=$(ls "$home/spool/obj" | wc -l)
echo 'spool_free_mb = 90000000' >> "$home/storescp.conf"
start
first=$(find "$home/in" -name "*.1.1.dcm")
if storescu -v 127.0.0.1 "$port" "$first" > "$home/refused" 2>&1; then :; fi
grep -qiE 'A700|OutOfResources|out of resources' "$home/refused" || { cat "$home/refused"; echo "not refused with A700"; exit 1; }
stop
same "$(ls "$home/spool/obj" | wc -l)" "$before" "files after a refusal"
same "$(ls "$home/spool/tmp" | wc -l)" 0 "temporary files after a refusal"
echo "receive_test: ok"
