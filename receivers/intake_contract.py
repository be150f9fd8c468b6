"""What the OpenAPI document says of the calls that bring requests in."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batching.endpoints import ENDPOINTS
from batching.jobs import LONGEST_JOB_NAME, JobSettings
from batching.line_faults import LONGEST_CUSTOM_ID

_REASONS: Final[Mapping[str, str]] = {
    "400": "The body is no JSON, or it is packed in a way that cannot be read.",
    "401": "A token is needed, or the one that was sent is not valid.",
    "403": "The token lacks the scope `submit`, or a page of another site sent this.",
    "408": "The client stopped sending.",
    "409": "The job has this custom_id with another content.",
    "413": "The body is too large.",
    "415": "The Content-Encoding is not known.",
    "422": "What is wrong, one entry each, with a JSON pointer.",
    "429": "Too many wrong tokens came from this address.",
    "503": "Intake is paused, busy, or the disk cannot be written: nothing was accepted.",
}
_EXAMPLE: Final = {
    "custom_id": "a1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
    "delivery_config": {"type": "webhook", "webhook_url": "https://example.com/results"},
}
_ERRORS: Final = {
    "type": "object",
    "required": ["errors"],
    "properties": {"errors": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM: Final = {
    "type": "object",
    "required": ["code", "title", "detail"],
    "properties": {
        "code": {"type": "string"},
        "title": {"type": "string"},
        "detail": {"type": "string"},
        "source": {
            "type": "object",
            "properties": {"pointer": {"type": "string"}, "parameter": {"type": "string"}},
        },
    },
}
_DELIVERY: Final = JobSettings.model_json_schema(ref_template="#/components/schemas/{model}")
_DESTINATIONS: Final = {
    name: schema for name, schema in _DELIVERY["$defs"].items() if name.endswith("Destination")
}
_REQUEST: Final = {
    "type": "object",
    "required": ["custom_id", "method", "url", "body"],
    "additionalProperties": False,
    "properties": {
        "custom_id": {"type": "string", "minLength": 1, "maxLength": LONGEST_CUSTOM_ID},
        "method": {"const": "POST"},
        "url": {"enum": list(ENDPOINTS)},
        "body": {
            "type": "object",
            "required": ["model"],
            "properties": {"model": {"type": "string", "minLength": 1}},
            "description": "The body as OpenAI takes it, with the input of its endpoint.",
        },
        "delivery_config": {
            "description": "Where the result goes; left out: into the outbox folder of the job.",
            "anyOf": [
                *({"$ref": f"#/components/schemas/{name}"} for name in _DESTINATIONS),
                {"type": "null"},
            ],
        },
    },
    "example": _EXAMPLE,
}
_ACCEPTED: Final = {
    "type": "object",
    "required": ["custom_id"],
    "properties": {
        "custom_id": {"type": "string"},
        "duplicate": {"const": True, "description": "It was accepted before: nothing was done."},
    },
}
_LINE_VERDICT: Final = {
    "type": "object",
    "required": ["line", "verdict"],
    "properties": {
        "line": {"type": "integer", "description": "Counted from 1."},
        "custom_id": {"type": "string"},
        "verdict": {"enum": ["accepted", "duplicate", "rejected"]},
        "code": {"type": "string"},
        "reason": {"type": "string"},
        "faults": {"type": "array", "items": {"type": "object"}},
    },
}
_BULK_RESULT: Final = {
    "type": "object",
    "required": ["job", "lines", "accepted", "rejected", "duplicates", "duplicate", "errors"],
    "properties": {
        "job": {"type": "string"},
        "lines": {"type": "integer"},
        "accepted": {"type": "integer"},
        "rejected": {"type": "integer"},
        "duplicates": {"type": "integer", "description": "Lines that were accepted before."},
        "duplicate": {"type": "boolean", "description": "All of it was accepted before."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/LineVerdict"}},
        "errors_left_out": {"type": "integer", "description": "Beyond the first 1,000."},
    },
}
_FILE_RESULT: Final = {
    "type": "object",
    "required": ["file", "job", "bytes", "duplicate"],
    "properties": {
        "file": {"type": "string", "description": "Its name in the inbox."},
        "job": {"type": "string"},
        "bytes": {"type": "integer"},
        "duplicate": {"type": "boolean"},
        "held": {"type": "string", "description": "With `hold`: the id under which it waits."},
    },
}
COMPONENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "schemas": {
        "Problem": _PROBLEM,
        "Errors": _ERRORS,
        "RequestLine": _REQUEST,
        "Accepted": _ACCEPTED,
        "LineVerdict": _LINE_VERDICT,
        "BulkResult": _BULK_RESULT,
        "FileResult": _FILE_RESULT,
        **_DESTINATIONS,
    },
    "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "obm_…"}},
}


def _errors(*statuses: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Errors"}
    return {
        status: {
            "description": _REASONS[status],
            "content": {"application/json": {"schema": schema}},
        }
        for status in ("400", "401", "403", "408", "413", "415", "422", "429", "503", *statuses)
    }


def _taken(schema: str, description: str, **more_content: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": {**content, **more_content}}


def _query(name: str, description: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


_JOB_NAME: Final = {"type": "string", "minLength": 1, "maxLength": LONGEST_JOB_NAME}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_VERDICTS: Final = {
    "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/LineVerdict"}}
}


_NO_LINE_TAKEN: Final = {
    "description": "No line was accepted, or a parameter is wrong.",
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    {"$ref": "#/components/schemas/BulkResult"},
                    {"$ref": "#/components/schemas/Errors"},
                ]
            }
        },
        **_VERDICTS,
    },
}


def _post(
    summary: str,
    description: str,
    *,
    parameters: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any],
    responses: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "post": {
            "tags": ["intake"],
            "summary": summary,
            "description": description,
            "parameters": parameters,
            "requestBody": {"required": True, "content": content},
            "responses": responses,
        }
    }


INTAKE_PATHS: Final[Mapping[str, Mapping[str, Any]]] = {
    "/api/requests": _post(
        "Send one request",
        "202 means that it is on the disk. The custom_id is the key of idempotency: sent again "
        "with the same content it is answered with 202 and `duplicate`, so an `Idempotency-Key` "
        "header is not needed, and ignored.",
        parameters=[_query("job", "Job that it belongs to (default: `default`).", _JOB_NAME)],
        content={"application/json": {"schema": {"$ref": "#/components/schemas/RequestLine"}}},
        responses={"202": _taken("Accepted", "It is accepted."), **_errors("409")},
    ),
    "/api/requests/bulk": _post(
        "Send many requests as JSON lines",
        "The good lines are accepted when the whole upload has arrived; of an upload that breaks "
        "off nothing is. The same upload sent again is recognised. `Content-Encoding` may be gzip "
        "or zstd. With `Accept: application/x-ndjson` the answer has one verdict a line.",
        parameters=[
            _query("job", "Label of the job that it joins; left out: a new one.", _JOB_NAME),
            _query("delivery_config", "Where all its results go, as JSON.", {"type": "string"}),
            _query("again", "Take it although it was sent before.", {"type": "boolean"}),
        ],
        content={"application/x-ndjson": _BINARY},
        responses={
            **_errors(),
            "202": _taken("BulkResult", "What became of the lines.", **_VERDICTS),
            "422": _NO_LINE_TAKEN,
        },
    ),
    "/api/files": _post(
        "Send a request file",
        "Any file that may be dropped into the inbox: JSON lines (also .gz and .zst), CSV or "
        "Parquet. As the body itself, or as the one file of a form.",
        parameters=[
            _query("name", "Name of the file; its ending tells the format.", {"type": "string"}),
            _query("job", "Settings as in a side file `x.job.json`, as JSON.", {"type": "string"}),
            _query(
                "hold",
                "Let it wait: `/api/held-files/{held}` tells what it would cost, and starts it.",
                {"type": "boolean"},
            ),
        ],
        content={
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
        responses={"202": _taken("FileResult", "It lies in the inbox."), **_errors()},
    ),
}
