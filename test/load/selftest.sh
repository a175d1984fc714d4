# SPDX-License-Identifier: BSD-3-Clause
# Proves that schedload sees what it should: sh selftest.sh SCHEDLOAD [SPEC].
# Without SPEC it needs neither cgroups nor privileges.
set -u
load=$1
spec=${2:-none,ping_pipe=2,ping_futex=2,ping_eventfd=2,fork=1,clone=1,exec=1,sleeper=32,long=7,timer=4,fault=1,jobctl=1,membarrier=1}
dir=$(mktemp -d)
state=$dir/load
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
		echo "ok: $1 $2: status $got, '$text'"
	fi
}

# The supervisor leads the session of its load; other loads may run here too.
supervisor() {
	"$load" check --state "$state" --seconds 2 --json | sed -n 's/.*"supervisor":\([0-9]*\).*/\1/p'
}

pid_of() { # KIND/ID SUPERVISOR
	for p in /proc/[0-9]*; do
		set -- "$1" "$2" $(cat "$p/stat" 2>/dev/null)
		if [ "${4:-}" = "($1)" ] && [ "${8:-}" = "$2" ]; then
			echo "$3"
		fi
	done
}

trap '"$load" stop --state "$state" >/dev/null 2>&1; rm -rf "$dir"' EXIT
expect 3 'no load runs here' "$load" check --state "$state"
expect 2 'no such kind' "$load" start --state "$state" --spec none,nonsense=1
expect 2 'want a number' "$load" start --state "$state" --spec none,fork=x
expect 2 'nothing to run' "$load" start --state "$state" --spec none
expect 1 'no cgroup v2 here' "$load" start --state "$state" --spec none,quota=20:1 --cgroup-root "$dir"
expect 3 'no load runs here' "$load" stop --state "$state"
expect 0 'ready after' "$load" start --state "$state" --spec "$spec"
expect 1 'runs here already' "$load" start --state "$state" --spec "$spec"
expect 0 ': ok: ' "$load" check --state "$state" --seconds 5
expect 0 '^{"ok":true' "$load" check --state "$state" --seconds 5 --json
# It ends when all have progressed, and only then.
expect 0 ': ok: .* progressed in [0-9]\{1,2\}\.' "$load" check --state "$state" --within 600
expect 2 'want 2 to 86400' "$load" check --state "$state" --within 0

super=$(supervisor)
# A stopped process: both of its threads are named, and its state is shown.
victim=$(pid_of ping_pipe/0 "$super")
kill -STOP "$victim"
sleep 1
expect 1 "NO PROGRESS ping_pipe/0 .* pid $victim .*state T" "$load" check --state "$state" --seconds 3
expect 1 "\"kind\":\"ping_pipe\",\"id\":0.*\"pid\":$victim.*\"state\":\"T\"" "$load" check --state "$state" --seconds 3 --json
expect 1 "of 63 workers progressed in 3\." "$load" check --state "$state" --within 3
kill -CONT "$victim"
expect 0 ': ok: ' "$load" check --state "$state" --seconds 5

# A long sleeper that does not wake.
victim=$(pid_of long/0 "$super")
kill -STOP "$victim"
sleep 1
expect 1 "NO PROGRESS long/3 .* pid $victim" "$load" check --state "$state" --seconds 3
kill -CONT "$victim"
sleep 1

# A process that died.
victim=$(pid_of timer/0 "$super")
kill -KILL "$victim"
sleep 2
expect 1 "NO PROGRESS timer/0 .*DEAD, wait status 0x9" "$load" check --state "$state" --seconds 3
expect 0 'no process and no cgroup left' "$load" stop --state "$state"
expect 3 'no load runs here' "$load" check --state "$state"

# The supervisor takes the load with it.
expect 0 'ready after' "$load" start --state "$state" --spec none,sleeper=16,fork=1
victim=$(supervisor)
kill -KILL "$victim"
sleep 1
expect 1 "the supervisor (pid $victim) is gone" "$load" check --state "$state"
expect 0 'no process and no cgroup left' "$load" stop --state "$state"
echo "selftest: $failures failures"
[ $failures -eq 0 ]
