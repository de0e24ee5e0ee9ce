#!/usr/bin/env python3
"""Keeps a table of all live streams, as a router does, and prints every change.

    export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
    python3 follower.py

Needs Python 3.9 or later, and only its standard library. docs/semantics.md#feed describes events.
"""

import json
import os
import random
import sys
import time
from http.client import HTTPException
from urllib import error, request

URL = os.environ.get("STREAMREG_URL", "http://127.0.0.1:8580")
TOKEN = os.environ.get("STREAMREG_TOKEN")
SILENCE = 25  # seconds; the server sends an event at least about every 10 s


def open_url(path, headers):
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    return request.urlopen(request.Request(URL + path, headers=headers), timeout=SILENCE)


def events(position):
    """Yields the events after a position until the connection ends."""
    with open_url("/api/v1/events", {"Last-Event-ID": position}) as response:
        for line in response:
            if line.startswith(b"data: ") and line.endswith(b"\n"):
                yield json.loads(line[6:])


def show(what, stream, streams):
    source = stream.get("source_addr", "")  # missing if the last record of a stream is unknown
    print(f"{what} {stream['id']} {source}: {len(streams)} live", flush=True)


def list_streams(streams):
    """Reads all live streams, and returns the position of the list in the events."""
    with open_url("/api/v1/snapshot", {}) as response:
        snapshot = json.load(response)
    streams.clear()
    for stream in snapshot["streams"]:
        streams[stream["id"]] = stream
        show("live", stream, streams)
    return snapshot["revision"]


def apply(event, streams):
    stream = event.get("stream")
    if stream is None:  # "alive": nothing has changed
        return
    if event["event"] in ("unregistered", "expired"):
        streams.pop(stream["id"], None)
    else:
        streams[stream["id"]] = stream
    show(event["event"], stream, streams)


def follow():
    streams, position = {}, None
    while True:
        pause = random.uniform(0.5, 1.5)  # so that not all followers return at the same moment
        try:
            if position is None:
                position = list_streams(streams)
            for event in events(position):
                position = event["revision"]
                if event["event"] == "resync":  # events are missing, e.g. the store was restarted
                    position = None  # read the list again
                    break
                apply(event, streams)
        except error.HTTPError as failure:
            if failure.code < 500:  # e.g. a wrong token
                sys.exit(f"failed: {failure}")
            print(f"cannot follow: {failure}", file=sys.stderr)
            pause += int(failure.headers.get("Retry-After", 0))
        except (OSError, HTTPException) as failure:  # e.g. the server restarts
            print(f"disconnected: {failure}", file=sys.stderr)
        time.sleep(pause)


if __name__ == "__main__":
    try:
        follow()
    except KeyboardInterrupt:
        pass
