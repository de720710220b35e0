#!/usr/bin/env bash
# The units of compose/systemd as systemd reads them. `systemd-analyze verify` ends with 0 on unknown settings: its messages decide.
# Every stage has a unit; every unit starts a program that is built. Usage: systemd_test.sh BUILD_DIR
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(cd "${1:-$top/build}/bin" && pwd) || exit 2
command -v systemd-analyze >/dev/null || { echo "left out: systemd-analyze is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
for unit in "$top"/compose/systemd/*.service "$top"/compose/systemd/*.target; do
  sed "s#/usr/local/bin/#$bin/#" "$unit" >"$work/$(basename "$unit")"
done
for unit in "$work"/*; do
  program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
  [ -z "$program" ] || [ -x "$program" ] || { echo "left out: $(basename "$program") is not built"; rm "$unit"; continue; }
  messages=$(systemd-analyze verify --man=no "$unit" 2>&1)
  [ -z "$messages" ] && echo "ok   $(basename "$unit")" || { echo "FAIL $(basename "$unit"): $messages"; bad=1; }
done
for stage in receiver validator uploader importer; do
  grep -q "^ExecStart=/usr/local/bin/storescp-$stage\$" "$top/compose/systemd/storescp-$stage@.service" || { echo "FAIL no unit for $stage"; bad=1; }
done
printf '[Service]\nExecStart=/bin/true\nNoSuchSetting=1\n' >"$work/wrong.service"
[ -n "$(systemd-analyze verify --man=no "$work/wrong.service" 2>&1)" ] && echo "ok   a wrong setting is seen" || { echo "FAIL a wrong setting is not seen"; bad=1; }
exit $bad
