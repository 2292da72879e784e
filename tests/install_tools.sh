#!/bin/sh
# Install what some tests need and pip cannot give, where we may: as root, on Debian or Ubuntu. Elsewhere those tests
# are skipped, each naming what it misses. Never fails: a machine without a network can still run all the others.
set -u
missing=""
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
command -v systemctl >/dev/null || missing="$missing systemd"
command -v openssl >/dev/null || missing="$missing openssl"
command -v ss >/dev/null || missing="$missing iproute2"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of words
    if { timeout 60 apt-get update -qq && timeout 180 apt-get install -qq -y --no-install-recommends $missing; } >/dev/null 2>&1; then
        echo "installed for the tests:$missing"
        exit 0
    fi
fi
echo "not installed, so their tests are skipped:$missing"
