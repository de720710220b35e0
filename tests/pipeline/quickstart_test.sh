#!/usr/bin/env bash
# compose/quickstart as a user meets it, on a home and ports of its own: imported with job and image set, a second run with the same data,
# --stop, Ctrl-C, a killed one, ports in use. Usage: quickstart_test.sh BUILD_DIR. The build directory is there already: nothing is rebuilt.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(cd "${1:-$top/build}/bin" && pwd) || exit 2
[ "$bin" = "$top/build/bin" ] || { echo "left out: compose/quickstart runs what is in $top/build"; exit 77; }
for program in storescp-uploader storescp-importer storescp-local-aws; do
  [ -x "$bin/$program" ] || { echo "left out: $program is not built"; exit 77; }
done
work=$(mktemp -d)
home=$work/home
bad=0
run="" other=""
ok() { echo "ok   $1"; }
no() { echo "FAIL $1"; bad=1; }
check() { local name=$1; shift; if "$@"; then ok "$name"; else no "$name"; fi; }
until_true() { local end=$((SECONDS + $1)); shift; until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.1; done; }
quickstart() { "$top/compose/quickstart" --home "$home" "$@"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
is_open() { (exec 8<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
is_shut() { ! is_open "$1"; }
runs() { # output file, seconds: it got as far as to stay up; a process that ended is not waited for
  local end=$((SECONDS + $2))
  until says "$1" '^running;'; do
    { kill -0 "$run" 2>/dev/null && [ $SECONDS -lt $end ]; } || return 1
    sleep 0.1
  done
}
says() { grep -qs -- "$2" "$work/$1"; }
imported() { sqlite3 -readonly "$home/state/state.db" "SELECT count(*) FROM instance WHERE state = 'imported' AND job_id <> '' AND image_set_id <> ''"; }
background() { # output file, options...: as from a terminal, that is with SIGINT not ignored
  local out=$work/$1
  shift
  python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execv(sys.argv[1], sys.argv[1:])' "$top/compose/quickstart" --home "$home" "$@" >"$out" 2>&1 </dev/null &
  run=$!
}
clean() { # all of it is on this home; whoever holds its locks is asked to end
  [ -z "$other" ] || kill "$other" 2>/dev/null
  timeout 60 "$top/compose/quickstart" --home "$home" --stop >/dev/null 2>&1
  rm -rf "$work"
}
trap clean EXIT
port=$(free_port) aws_port=$(free_port)
unset STORESCP_HOME SCP_PORT
export AWS_ACCESS_KEY_ID=NOBODY AWS_SECRET_ACCESS_KEY=nothing AWS_ENDPOINT_URL=http://127.0.0.1:1 # must not reach the stages

quickstart --help | grep -q -- --no-demo; check "--help" [ $? = 0 ]
quickstart --bogus 2>/dev/null; check "unknown option: exit 2" [ $? = 2 ]
quickstart --port 70000 2>/dev/null; check "no port: exit 2" [ $? = 2 ]
check "--stop with nothing running: exit 0" quickstart --stop

python3 -m http.server --bind 127.0.0.1 "$port" >/dev/null 2>&1 & other=$!
until_true 10 is_open "$port"
quickstart --port "$port" --aws-port "$aws_port" >"$work/busy" 2>&1; check "port in use: exit 1" [ $? = 1 ]
check "port in use: says so" says busy "port $port is in use"
kill "$other"; wait "$other" 2>/dev/null; other=""

begun=$SECONDS
background first --port "$port" --aws-port "$aws_port"
check "runs and stays" runs first 150
[ $bad = 0 ] || { tail -n 30 "$work/first" "$home"/*.log; exit 1; } # nothing below would mean anything
check "13 images imported with job and image set" [ "$(imported)" = 13 ]
check "the table shows them" [ "$(grep -c ' imported  *[^ ]*  *[0-9a-f]\{32\}' "$work/first")" = 13 ]
quickstart >"$work/twice" 2>&1; check "a second one on the same home: exit 1" [ $? = 1 ]
check "it says how to stop the first" says twice '--stop'
kill -INT "$run"; wait "$run"; check "Ctrl-C: exit 0" [ $? = 0 ]
check "both ports are shut" eval 'is_shut $port && is_shut $aws_port'
echo "     first run: $((SECONDS - begun)) s"

printf '\n[destination archive]\nfor_calling_ae = CT1\ndestination_kind = s3\ndicom_bucket = the-archive\nendpoint_url_s3 = http://127.0.0.1:%s\n' "$aws_port" >>"$home/storescp.conf"
begun=$SECONDS
timeout 120 "$top/compose/quickstart" --home "$home" --no-stay >"$work/second" 2>&1; check "second run, --no-stay: exit 0" [ $? = 0 ]
check "a section's bucket is made" [ -d "$home/aws/objects/the-archive" ]
check "it kept its ports and its data" eval '[ "$(imported)" = 26 ] && says second "port $port"'
echo "     second run: $((SECONDS - begun)) s"

background third --no-demo
check "--no-demo runs" runs third 60
check "running means that the port is open (an old ready is not believed)" is_open "$port"
check "--stop: exit 0" quickstart --stop
wait "$run"; check "the stopped one: exit 0" [ $? = 0 ]
check "--no-demo sent nothing" [ "$(imported)" = 26 ]

background fourth --no-demo
runs fourth 60
kill -KILL "$run"; wait "$run" 2>/dev/null
check "what a killed one leaves runs on" is_open "$port"
background fifth --no-demo
check "the next one takes its place" runs fifth 90
kill -KILL "$run"; wait "$run" 2>/dev/null
check "--stop ends what a killed one left" quickstart --stop
check "nothing is left" eval 'is_shut $port && is_shut $aws_port'
[ $bad = 0 ] || { for f in first second third fourth fifth; do echo "---- $f"; tail -n 15 "$work/$f"; done; tail -n 15 "$home"/*.log; }
exit $bad
