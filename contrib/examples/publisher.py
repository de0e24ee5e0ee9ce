#!/usr/bin/env python3
"""Registers a stream, keeps it alive, and unregisters it at SIGTERM or Ctrl-C.

    export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
    python3 publisher.py cam1 203.0.113.7:40112

Needs Python 3.9 or later, and only its standard library. docs/http.md describes the API.
"""

import json
import os
import signal
import socket
import sys
import time
from http.client import HTTPException
from urllib import error, parse, request

URL = os.environ.get("STREAMREG_URL", "http://127.0.0.1:8580")
TOKEN = os.environ.get("STREAMREG_TOKEN")
STARTED = time.monotonic()


class Problem(Exception):
    """The server rejected a request, or did not answer."""

    def __init__(self, detail, code=None, retry_after=None):
        super().__init__(detail)
        self.code = code  # e.g. "not_found"; stable, unlike the detail
        self.retry_after = retry_after  # in seconds; None if a retry is useless


def call(method, path, body=None, epoch=None):
    """Sends a request. Returns the JSON of the response, or raises Problem."""
    headers = {"Content-Type": "application/json"}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    if epoch:
        headers["Stream-Epoch"] = epoch
    data = None if body is None else json.dumps(body).encode()
    try:
        req = request.Request(URL + path, data, headers, method=method)
        with request.urlopen(req, timeout=5) as response:
            return json.loads(response.read() or "null")
    except error.HTTPError as failure:
        if failure.headers.get_content_type() != "application/problem+json":  # e.g. of a proxy
            raise Problem(failure, retry_after=1 if failure.code >= 500 else None) from None
        problem = json.load(failure)  # RFC 9457
        retry_after = int(failure.headers.get("Retry-After", 1)) if problem["retryable"] else None
        raise Problem(problem["detail"], problem["code"], retry_after) from None
    except (OSError, HTTPException) as failure:  # e.g. the server restarts
        raise Problem(failure, retry_after=1) from None


def measure():
    """Returns the statistics since the start. Replace this by the counters of your ingest code."""
    seconds = time.monotonic() - STARTED
    received = {"bytes_received": int(seconds * 625_000), "packets_received": int(seconds * 475)}
    return received | {"packets_lost": 0, "bitrate": 5_000_000}


def register(record):
    """Registers the stream with a lease. If the server is down, waits for it."""
    while True:
        try:
            return call("POST", "/api/v1/streams?lease=true", record)
        except Problem as problem:
            if problem.retry_after is None:  # e.g. another publisher has the id
                raise
            print(f"cannot register yet: {problem}", file=sys.stderr)
            time.sleep(problem.retry_after)


def report(record, epoch):
    """Reports statistics, which count as a heartbeat."""
    stats = measure()
    try:
        call("PUT", "/api/v1/stream/stats?" + parse.urlencode({"id": record["id"]}), stats, epoch)
    except Problem as problem:
        if problem.code != "not_found":
            raise
        # The stream has expired, or the store has lost it. Register it again with the same epoch.
        # This fails if the stream was unregistered or taken over, so it never disturbs others.
        call("POST", "/api/v1/streams?recover=true", {**record, **stats}, epoch)
        print("registered again", file=sys.stderr)


def publish(stream, source):
    node = socket.gethostname()
    record = {"id": stream, "type": "srt", "source_addr": source, "status": "active", "node": node}
    registered = register(record)
    epoch, interval = registered["epoch"], min(registered["ttl_ms"] / 5000, 10)
    print(f"registered {stream}", file=sys.stderr)
    pause = interval
    try:
        while True:
            time.sleep(pause)
            pause = interval
            try:
                report(registered["stream"], epoch)
            except Problem as problem:
                if problem.code in ("not_found", "not_holder"):
                    sys.exit(f"lost {stream}: {problem}")  # stop ingesting
                # Go on ingesting: the next report after an outage makes up for the missing ones.
                print(f"cannot report: {problem}", file=sys.stderr)
                pause = problem.retry_after or interval
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # unregister once
        query = parse.urlencode({"id": stream, "reason": "publisher stopped"})
        call("DELETE", "/api/v1/stream?" + query, epoch=epoch)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM acts as Ctrl-C
    try:
        publish(*sys.argv[1:])
    except Problem as failed:
        sys.exit(f"failed: {failed}")
