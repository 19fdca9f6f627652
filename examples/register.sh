#!/bin/sh
# Registers one backend with edgeProxy, says every INTERVAL seconds that it is still there, and
# deregisters it when it is told to stop (SIGTERM, SIGINT). Needs curl.
#
#   EDGEPROXY_API=http://127.0.0.1:8081 ID=web-1 APP=web REGION=sa IP=10.50.1.7 PORT=8080 \
#       TOKEN_FILE=/etc/edgeproxy/token examples/register.sh
#
# Optional: COUNTRY, WEIGHT, SOFT_LIMIT, HARD_LIMIT, INTERVAL (20; a third of the proxy's
# EDGEPROXY_HEARTBEAT_TTL_SECS), TOKEN_FILE (the token alone; it never shows in a process list),
# UNIX_SOCKET (of the API, in place of an address).
set -eu

: "${EDGEPROXY_API:=http://localhost:8081}" "${INTERVAL:=20}"
: "${ID:?}" "${APP:?}" "${REGION:?}" "${IP:?}" "${PORT:?}"

# Prints the status of the answer, or 000. The body, where there is one, comes on standard input,
# and the token in a file descriptor: neither is an argument.
call() {
	method=$1 path=$2
	shift 2
	{
		[ -z "${TOKEN_FILE:-}" ] ||
			printf 'header = "Authorization: Bearer %s"\n' "$(cat "$TOKEN_FILE")"
		[ -z "${UNIX_SOCKET:-}" ] || printf 'unix-socket = "%s"\n' "$UNIX_SOCKET"
	} | curl --silent --output /dev/null --write-out '%{http_code}' --max-time 5 --config - \
		--request "$method" "$@" "$EDGEPROXY_API/api/v1/$path" || :
}

text() { # NAME VALUE: a JSON member, for values without quotes and backslashes
	case $2 in *[\"\\]*) echo "register: $1 has a quote or a backslash" >&2 && exit 2 ;; esac
	printf '"%s":"%s"' "$1" "$2"
}

body="{$(text id "$ID"),$(text app "$APP"),$(text region "$REGION"),$(text ip "$IP"),\"port\":$PORT"
[ -z "${COUNTRY:-}" ] || body="$body,$(text country "$COUNTRY")"
[ -z "${WEIGHT:-}" ] || body="$body,\"weight\":$WEIGHT"
[ -z "${SOFT_LIMIT:-}" ] || body="$body,\"soft_limit\":$SOFT_LIMIT"
[ -z "${HARD_LIMIT:-}" ] || body="$body,\"hard_limit\":$HARD_LIMIT"
body="$body}"

register() {
	status=$(call POST register --header 'Content-Type: application/json' --data "$body")
	case $status in
	200 | 201) echo "register: $ID is registered" >&2 ;;
	000 | 429 | 5??) echo "register: no success yet ($status)" >&2 ;;
	*) echo "register: refused ($status)" >&2 && exit 1 ;;
	esac
}

leave() {
	trap '' TERM INT
	echo "register: deregistering: $(call DELETE "backends/$ID")" >&2
	exit 0
}
trap leave TERM INT

register
while :; do
	# In the background, so that a signal is obeyed at once.
	sleep "$INTERVAL" &
	wait $! || :
	case $(call POST "heartbeat/$ID") in
	404 | 401) register ;; # the proxy does not know it (any more)
	esac
done
