#!/usr/bin/env bash
# validate_test BUILD_DIR - receiver and validator as real processes: every shared file ends as expected_verdicts.tsv says; a spool file
# that is gone is an answer, not a loop; two contents of one SOP Instance UID with one CRC32C are no duplicates, although they are judged
# in the same round; SIGTERM in the middle of much work leaves no claim behind; no patient data in the log.
set -euo pipefail
build=$1
here=$(cd "$(dirname "$0")" && pwd)
shared=${SHARED_DIR:-$here/../../../shared}
home=$(mktemp -d /tmp/validate_test.XXXXXX)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
receiver=""; validator=""
stop() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
trap 'stop "$validator"; stop "$receiver"; rm -rf "$home"' EXIT
sql() { sqlite3 -readonly -cmd '.timeout 5000' "$home/state/state.db" "$1"; }
same() { [ "$1" = "$2" ] || { echo "$3: expected $2, got $1"; exit 1; }; }
validate() { # returns when the validator works
  "$build/bin/storescp-validator" --home "$home" 2>>"$home/log" & validator=$!
  for _ in $(seq 100); do grep -q "validator\[$validator\] started" "$home/log" && return; sleep 0.05; done
  echo "the validator does not start"; tail -5 "$home/log"; exit 1
}
settle() { for _ in $(seq 300); do [ "$(sql "SELECT count(*) FROM instance WHERE state = 'received'")" = 0 ] && return; sleep 0.1; done
  echo "instances stay 'received'"; tail -5 "$home/log"; exit 1; }
end_validator() { local rc=0; kill "$validator"; wait "$validator" || rc=$?; validator=""; same "$rc" 0 "exit of the validator"; }
printf 'scp_port = %s\n' "$port" > "$home/storescp.conf"
"$build/bin/storescp-receiver" --home "$home" 2>>"$home/log" & receiver=$!
for _ in $(seq 300); do echoscu 127.0.0.1 "$port" 2>/dev/null && break; sleep 0.1; done

# nobody judges yet: all that follows is one round's work
python3 "$here/../lib/make_dicom.py" "$home/in" 40 16384
first=$(find "$home/in" -name '*.dcm' | sort | head -1)
gone=$(find "$home/in" -name '*.dcm' | sort | tail -1)
for f in "$home"/in/*.dcm; do storescu 127.0.0.1 "$port" "$f"; done
storescu 127.0.0.1 "$port" "$first" # a true duplicate
# The generator polynomial, laid over the last bytes of the pixels, changes them and not their CRC32C.
python3 - "$first" "$home/other.dcm" <<'END'
import sys
b = bytearray(open(sys.argv[1], 'rb').read())
for i, x in enumerate((1 | 0x82F63B78 << 1).to_bytes(5, 'little')): b[len(b) - 16 + i] ^= x
open(sys.argv[2], 'wb').write(b)
END
storescu 127.0.0.1 "$port" "$home/other.dcm"
uid=$(basename "$first" .dcm)
same "$(sql "SELECT count(DISTINCT data_crc32c) FROM instance WHERE sop_instance_uid = '$uid'")" 1 "CRC32C of the two contents"
rm "$home/spool/obj/$(sql "SELECT id FROM instance WHERE sop_instance_uid = '$(basename "$gone" .dcm)'").dcm"
validate; settle
same "$(sql "SELECT group_concat(state || ' ' || coalesce(error_code, '-'), ', ') FROM (SELECT * FROM instance WHERE sop_instance_uid = '$uid' ORDER BY id)")" \
  "validated -, duplicate DUPLICATE, quarantined SOP_UID_REUSED" "one UID, two contents, three times"
same "$(sql "SELECT state || ' ' || error_code FROM instance WHERE sop_instance_uid = '$(basename "$gone" .dcm)'")" \
  "quarantined SPOOL_FILE_MISSING" "an instance whose file is gone"
same "$(sql "SELECT count(*) FROM instance WHERE state = 'validated'")" 39 "validated instances"
same "$(sql "SELECT count(*) FROM instance WHERE state = 'validated' AND batch IS NULL")" 0 "validated without a batch"
same "$(ls "$home/spool/quarantine" | wc -l)" 1 "files in quarantine"

# every shared file; what cannot be delivered (odd or no data, refused class) has no row
if [ -d "$shared/dicom/hostile/files" ]; then
  end_validator; validate
  stored=$(python3 - "$here" "$shared/dicom" "$port" "$home/state/state.db" <<'END'
import os, sqlite3, sys, time
here, shared, port, database = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(here, '..', 'lib'))
import scu
db = sqlite3.connect(f'file:{database}?mode=ro', uri=True, timeout=10)
stored = 0
for line in open(os.path.join(here, 'expected_verdicts.tsv')):
    words = line.split()
    name, path = words[0] if words else '#', os.path.join(shared, words[0]) if words else ''
    if name[0] == '#' or name in {f'hostile/files/cut-00{n}.dcm' for n in ('000', '132', '200', '330')} or not os.path.exists(path):
        continue
    try:
        if scu.store_file('127.0.0.1', int(port), path, timeout=30) != 0:
            continue
    except scu.Refused:
        continue
    stored, end = stored + 1, time.monotonic() + 30
    while db.execute("SELECT count(*) FROM instance WHERE state = 'received'").fetchone()[0]:
        assert time.monotonic() < end, f'{name} stays received'
        time.sleep(0.01)
    got = db.execute("SELECT state || ' ' || coalesce(error_code, '-') FROM instance ORDER BY rowid DESC LIMIT 1").fetchone()[0]
    # what is fine by itself may still have come before, in this or another content
    got = 'validated -' if got in ('duplicate DUPLICATE', 'quarantined SOP_UID_REUSED') else got
    assert got == ' '.join(words[1:3]), f'{name}: expected {words[1:3]}, got {got}'
print(stored)
END
)
  [ "$stored" -ge 230 ] || { echo "only $stored shared files were stored"; exit 1; }
else
  echo "left out: real files; $shared is not here"
fi
same "$(sql "SELECT count(*) FROM instance WHERE state = 'quarantined' AND (error_text IS NULL OR remedy IS NULL)")" 0 "quarantined without reason or remedy"
end_validator

# much work, and a stop in the middle of it
python3 "$here/../lib/make_dicom.py" "$home/more" 200 16384
storescu 127.0.0.1 "$port" +sd "$home/more"
validate; end_validator
same "$(sql 'SELECT count(*) FROM instance WHERE owner IS NOT NULL')" 0 "claims left after a stop"
validate; settle; end_validator
same "$(sql 'SELECT count(*) FROM worker WHERE stage = '"'validator'")" 0 "workers left after a stop"
same "$(sql 'PRAGMA integrity_check')" ok integrity
if grep -qiE 'patient|CompressedSamples|\^' "$home/log"; then echo "the log speaks of patients"; exit 1; fi
echo "validate_test: ok"
