#!/usr/bin/env bash
# Prints all live streams, and then every change.
#
#   export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
#   ./follower.sh
#
# Needs curl and jq. docs/semantics.md#feed describes the events.
set -euo pipefail
url=${STREAMREG_URL:-http://127.0.0.1:8580}

log() { printf '%s\n' "$*" >&2; }

# Prints the response, and then a line with `HTTP` and its status: 000 if there is no response.
get() { # PATH [OPTIONS OF CURL]
  local path=$1
  shift
  # The token is in a pipe, so that it does not appear in the list of processes.
  curl -sS -w '\nHTTP %{http_code}\n' "$@" \
    -H @<(printf 'Authorization: Bearer %s\n' "${STREAMREG_TOKEN:-}") "$url$path" || true
}

# Prints all live streams, and sets `position` to the position of the list in the events.
list() {
  local response
  response=$(get /api/v1/snapshot --max-time 25)
  case $response in
    *'HTTP 200') response=${response%HTTP*} ;;
    *'HTTP '[05]??) log "cannot list: $response"; return ;; # the server is down; try again
    *) log "failed: $response"; exit 1 ;; # e.g. a wrong token
  esac
  jq -r '.streams[] | "live \(.id) \(.source_addr)"' <<<"$response"
  position=$(jq -r .revision <<<"$response")
}

# Prints the events after `position` as lines of values, until the connection ends. The server sends
# an event about every 10 s, so a connection that is silent for 25 s is dead.
events() {
  get /api/v1/events -N --speed-limit 1 --speed-time 25 -H "Last-Event-ID: $position" 2>/dev/null |
    jq -Rr --unbuffered 'if startswith("data: ") then
        .[6:] | fromjson | [.event, .revision, .stream.id, .stream.source_addr] | @tsv
      elif startswith("HTTP ") then "HTTP\t\(.[5:])" else empty end'
}

position=
while true; do
  [[ -n $position ]] || list
  if [[ -n $position ]]; then
    while IFS=$'\t' read -r event value id source; do
      case $event in
        HTTP) # the connection has ended
          log "disconnected: status $value"
          [[ $value != 4?? ]] || exit 1 ;; # e.g. the token was revoked
        resync) position=; break ;; # events are missing, e.g. because the store was restarted
        alive) position=$value ;; # nothing has changed
        *) position=$value; printf '%s %s %s\n' "$event" "$id" "$source" ;;
      esac
    done < <(events)
  fi
  sleep "1.$((RANDOM % 10))" # so that not all followers return at the same moment
done
