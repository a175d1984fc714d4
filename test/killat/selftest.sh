# SPDX-License-Identifier: BSD-3-Clause
# Proves that killat counts, sees and kills: sh selftest.sh KILLAT.
set -u
killat=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failures=0

expect() { # EXPECTED_STATUS TEXT COMMAND...
	want=$1 text=$2
	shift 2
	"$@" >"$dir/out" 2>&1
	got=$?
	if [ $got -ne "$want" ] || ! grep -q -- "$text" "$dir/out"; then
		failures=$((failures + 1))
		echo "FAIL: $*: status $got, want $want and '$text'; output:"
		cat "$dir/out"
	else
		echo "ok: $*: status $got, '$text'"
	fi
}

check() { # TEXT CONDITION...
	text=$1
	shift
	"$@" || { failures=$((failures + 1)); echo "FAIL: $text"; }
}

expect 2 usage "$killat"
expect 2 usage "$killat" -k 0 true
expect 127 'No such file' "$killat" -k 1 "$dir/none"
expect 0 'ended with status 0 after [1-9]' "$killat" true
expect 0 'ended with status 3 after [1-9]' "$killat" -k 100000 sh -c 'exit 3'
expect 0 'ended by signal 15 after [1-9]' "$killat" sh -c 'kill -TERM $$'
expect 0 'ended with status 0 after 0 stops' "$killat" -e true

# A directory is made by one call: at its entry it is not there yet, at its exit it is.
expect 9 'killed at stop 1: entry of mkdir' "$killat" -e -k 1 mkdir "$dir/new"
check 'killed at the entry of mkdir, the directory exists' test ! -e "$dir/new"
expect 9 'killed at stop 2: exit of mkdir' "$killat" -e -k 2 mkdir "$dir/new"
check 'killed at the exit of mkdir, the directory is missing' test -d "$dir/new"
expect 0 'after 2 stops' "$killat" -e -k 3 mkdir "$dir/newer"

# Child processes count, and die with the command.
expect 9 'killed at stop 1: entry of mkdir' "$killat" -e -k 1 sh -c "mkdir $dir/child; sleep 100; true"
check 'killed at the entry of a child, the directory exists' test ! -e "$dir/child"
expect 0 'stop 1: entry of open.*/dev/null' "$killat" -e -l sh -c ': > /dev/null'

# A program of many threads, whose number of stops varies: killed at some, then through.
if command -v go >/dev/null 2>&1; then
	n=1
	while "$killat" -k $n go env GOROOT >/dev/null 2>"$dir/out"; [ $? -eq 9 ]; do
		n=$((n * 3))
	done
	expect 0 'ended with status 0 after [1-9]' "$killat" -k $((n * 10)) go env GOROOT
	check 'a program of many threads is killed' test $n -gt 100
fi
exit $failures
