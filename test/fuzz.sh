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
	echo "fuzz $pkg $target for $time"
	go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=1s -parallel=2 "$pkg" </dev/null
done
