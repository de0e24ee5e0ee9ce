"""Corrects requests that fit the document, but break a rule that OpenAPI cannot express.

Such a request is rejected with 400, as it should be, but schemathesis expects that it is accepted. Only requests that
schemathesis means to be valid are changed. The tests in Rust check each of these rules.
"""

import itertools

import schemathesis
from schemathesis import GenerationMode

KEYS = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    query = {} if case.query is None else case.query
    headers = {} if case.headers is None else case.headers
    body = case.body if isinstance(case.body, dict) else {}

    # The server creates cursors and revisions. It rejects all others.
    query.pop("cursor", None)
    query.pop("from", None)
    headers.pop("Last-Event-ID", None)

    # A key belongs to one call. Another call with the same key is rejected.
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f"key-{next(KEYS)}"

    # A write has an epoch or `force=true`, not both.
    if is_true(query, "force"):
        headers.pop("Stream-Epoch", None)

    operation = case.operation.definition.raw["operationId"]
    if operation == "listStreams" and query.get("id"):
        # A list that names its streams has neither filter nor pages.
        for name in query.keys() - {"id"}:
            query.pop(name)
    elif operation == "registerStream":
        complete_registration(query, headers, body)
    elif operation.startswith("updateStream"):
        # The record can omit the id. Otherwise, the id must be the same as in the URL.
        body.pop("id", None)
    elif operation.startswith("patchStream") and None in (body.get("labels") or {}).values():
        # With `labels=replace`, no label can be null.
        query.pop("labels", None)


def complete_registration(query, headers, body):
    if query.get("on_conflict") != "take_over_if_stale":
        query.pop("stale_ms", None)
    elif body.get("id") is None:
        # A generated id has no conflicts.
        del query["on_conflict"]
        query.pop("stale_ms", None)
    else:
        query.setdefault("stale_ms", 0)
    # A recovery needs the record and the epoch of the lost lease.
    if is_true(query, "recover") and "Stream-Epoch" in headers and body.get("id") and body.get("created_at"):
        return
    query.pop("recover", None)
    headers.pop("Stream-Epoch", None)


def is_true(query, name):
    return str(query.get(name)).lower() == "true"
