#!/bin/sh
# Installs what the tests use beside Go: real clients and tools to compare with.
#
#	sh test/setup.sh test        what make test needs
#	sh test/setup.sh generate    what make generate needs
#
# As root on Debian it installs what is missing by apt. Otherwise it says what is
# missing, and tests that need it say so when they are skipped.
set -eu

missing=""
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

# Tools of the administrator are not on everybody's path.
PATH="$PATH:/usr/sbin:/sbin"

for what in "$@"; do
	case "$what" in
	test)
		need ip iproute2
		need ping iputils-ping
		need nc netcat-openbsd
		need curl curl
		need ethtool ethtool
		need tshark tshark
		need memccapable libmemcached-tools
		need memcached memcached
		;;
	generate)
		need clang clang
		need llvm-strip llvm
		;;
	*)
		echo "setup.sh: $what: want test or generate" >&2
		exit 1
		;;
	esac
done

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "setup.sh: not installed, and not root on Debian to install it:$missing" >&2
	exit 0
fi
echo "setup.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# A list of packages, split on purpose.
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null
