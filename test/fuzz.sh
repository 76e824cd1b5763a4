#!/bin/sh
# Runs every fuzz target of the module, or of some packages, for a while, or so many
# times, one after the other.
#
#	sh test/fuzz.sh 30s
#	sh test/fuzz.sh 60000x
#	sh test/fuzz.sh 20m ./stack/tcp
set -eu

time=${1:-30s}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- ./...
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz runs one target. At the end of a time the fuzzing engine at times takes its own
# deadline for a failure, and then names no input: that is none.
fuzz() { # fuzz PACKAGE TARGET TIME
	{
		go test -run='^$' -fuzz="^$2\$" -fuzztime="$3" -fuzzminimizetime=100x -parallel=2 "$1" </dev/null 2>&1 || echo "fuzz.sh: failed"
	} | tee "$log"
	! grep -q '^fuzz.sh: failed' "$log" || {
		grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input' "$log"
	}
}

# Packages and their targets; a package's targets come before its "ok" line.
list=$(go test -list '^Fuzz' "$@") || { echo "$list"; exit 1; }
echo "$list" | awk '
	/^Fuzz/ { targets[++n] = $1 }
	/^ok/   { for (i = 1; i <= n; i++) print $2, targets[i]; n = 0 }
' | while read -r pkg target; do
	many=$time
	case "$time $pkg/$target" in
	*x\ shardnet/stack/internal/netstack/FuzzGRO | *x\ shardnet/stack/internal/udp/FuzzDatagramQueue | *x\ shardnet/stack/tcp/*)
		# Each input is a whole batch, or a conversation: hundreds a second, not thousands.
		many=$((${time%x} / 40))x
		;;
	esac
	echo "fuzz $pkg $target for $many"
	fuzz "$pkg" "$target" "$many"
done
