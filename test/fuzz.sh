#!/bin/sh
# Runs every fuzz target of the module for a while, or so many times, one after the
# other.
#
#	sh test/fuzz.sh 30s
#	sh test/fuzz.sh 60000x
set -eu

time=${1:-30s}
# Packages and their targets; a package's targets come before its "ok" line.
list=$(go test -list '^Fuzz' ./...) || { echo "$list"; exit 1; }
echo "$list" | awk '
	/^Fuzz/ { targets[++n] = $1 }
	/^ok/   { for (i = 1; i <= n; i++) print $2, targets[i]; n = 0 }
' | while read -r pkg target; do
	many=$time
	case "$time $pkg/$target" in
	*x\ shardnet/stack/FuzzGRO | *x\ shardnet/stack/FuzzDatagramQueue | *x\ shardnet/stack/tcp/*)
		# Each input is a whole batch, or a conversation: hundreds a second, not thousands.
		many=$((${time%x} / 40))x
		;;
	esac
	echo "fuzz $pkg $target for $many"
	go test -run='^$' -fuzz="^$target\$" -fuzztime="$many" -fuzzminimizetime=1s -parallel=2 "$pkg" </dev/null
done
