#!/bin/sh
# Install what some tests need and pip cannot give, where we may: as root, on Debian or Ubuntu. Elsewhere those tests
# are skipped, each naming what it misses. Never fails: a machine without a network can still run all the others.
set -u
missing=""
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
command -v systemctl >/dev/null || missing="$missing systemd"
command -v unshare >/dev/null || missing="$missing util-linux"
command -v openssl >/dev/null || missing="$missing openssl"
command -v ss >/dev/null || missing="$missing iproute2"
[ -n "$missing" ] || exit 0
why="needs root"
if [ "$(id -u)" = 0 ]; then
    why="no apt-get here"
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        # No network must be found out soon, and somebody else's apt be waited for, but not for ever.
        get="apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=120"
        # Lists that cannot be fetched, or not all of them, may have been fetched before.
        # shellcheck disable=SC2086  # lists of words
        why=$({ $get update || :; $get install -y --no-install-recommends $missing; } 2>&1 >/dev/null </dev/null) && {
            echo "installed for the tests:$missing"
            exit 0
        }
        why=$(printf '%s\n' "$why" | tail -n 1)
    fi
fi
echo "not installed, so their tests are skipped:$missing ($why)"
