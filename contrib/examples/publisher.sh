#!/usr/bin/env bash
# Registers a stream, keeps it alive, and unregisters it at SIGTERM or Ctrl-C.
#
#   export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
#   ./publisher.sh cam1 203.0.113.7:40112
#
# Needs curl 7.83 or later, and jq. docs/http.md describes the API.
set -euo pipefail
url=${STREAMREG_URL:-http://127.0.0.1:8580}
id=$1 source=$2
query=id=$(jq -nr --arg id "$id" '$id | @uri')

log() { printf '%s\n' "$*" >&2; }

# Sends a request. Sets `status`, which is 000 if there is no response, `retry_after` and `body`.
call() { # METHOD PATH [OPTIONS OF CURL]
  local method=$1 path=$2
  shift 2
  # The token is in a pipe, so that it does not appear in the list of processes.
  body=$(curl -sS --max-time 5 -X "$method" -w '\n%{http_code} %header{retry-after}' "$@" \
    -H @<(printf 'Authorization: Bearer %s\n' "${STREAMREG_TOKEN:-}") \
    -H 'Content-Type: application/json' "$url$path") || true
  read -r status retry_after <<<"${body##*$'\n'}"
  body=${body%$'\n'*}
}

# Prints the code of an error, e.g. not_found. A proxy can answer with something else than JSON.
code() { jq -r .code <<<"$body" 2>/dev/null || true; }

# Prints the statistics since the start. Replace this by the counters of your ingest.
measure() {
  jq -nc --argjson seconds "$SECONDS" '{bytes_received: ($seconds * 625000),
    packets_received: ($seconds * 475), packets_lost: 0, bitrate: 5000000}'
}

# Registers the stream with a lease. If the server is down, waits for it.
register() {
  local record
  record=$(jq -nc --arg id "$id" --arg source "$source" --arg node "$HOSTNAME" \
    '{id: $id, type: "srt", source_addr: $source, status: "active", node: $node}')
  until call POST '/api/v1/streams?lease=true' -d "$record" && [[ $status == 20[01] ]]; do
    log "cannot register: $status $body"
    [[ $status == 000 || $status == 5?? ]] || exit 1 # e.g. another publisher has the id
    sleep "${retry_after:-1}"
  done
  epoch=$(jq -r .epoch <<<"$body")
  interval=$(jq '[.ttl_ms / 5000, 10] | min' <<<"$body")
  stream=$(jq -c .stream <<<"$body")
  log "registered $id"
}

# Reports statistics, which count as a heartbeat.
report() {
  local stats
  stats=$(measure)
  call PUT "/api/v1/stream/stats?$query" -H "Stream-Epoch: $epoch" -d "$stats"
  [[ $(code) == not_found ]] || return 0
  # The stream has expired, or the store has lost it. Register it again with the same epoch. This
  # fails if the stream was unregistered or taken over, so it never disturbs others.
  log "registering again"
  call POST '/api/v1/streams?recover=true' -H "Stream-Epoch: $epoch" \
    -d "$(jq -c --argjson stats "$stats" '. + $stats' <<<"$stream")"
}

unregister() {
  call DELETE "/api/v1/stream?$query&reason=publisher%20stopped" -H "Stream-Epoch: $epoch"
  exit 0
}

register
trap unregister TERM INT
pause=$interval
while true; do
  sleep "$pause" & wait $! # a signal interrupts `wait`, but not `sleep`
  pause=$interval
  report
  [[ $status == 20? ]] && continue
  case $(code) in
    not_found | not_holder) log "lost $id: $body"; exit 1 ;; # stop ingesting
    # Go on ingesting: the next report after an outage makes up for the missing ones.
    *) log "cannot report: $status $body"; pause=${retry_after:-1} ;;
  esac
done
