"""Endpoints of configuration: apply, list, read, delete, findings.

Mounted by `api/application.py`. An apply request is all or nothing: any document with an error refuses the whole
request. Must not know: which store holds an object, or how a state is built.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lateen.api.answers import (
    config_item,
    error_response,
    finding_view,
    json_response,
    proxy_views,
    whole_document,
)
from lateen.api.control_plane import ControlPlane, ReadOnlyObjectError
from lateen.api.gate import note_objects
from lateen.api.guards import BodyTooLargeError, bounded_body
from lateen.api.schemas import (
    AppliedObject,
    ApplyAnswer,
    ApplyFiles,
    ConfigList,
    DeleteAnswer,
    FindingList,
    ProxyView,
    SourceFile,
)
from lateen.config.kinds import document_kind, kind_named
from lateen.config.objects import ConfigObject
from lateen.config.parsing import Parsed, find_duplicates, parse
from lateen.config.positions import Positions
from lateen.model.findings import Finding, has_errors
from lateen.model.names import DEFAULT_NAMESPACE, ObjectKey

FILES_TYPE = "application/vnd.lateen.files+json"
MAX_WAIT_SECONDS = 600.0


class RequestError(Exception):
    """The request cannot be understood; answered with 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """Query parameters of an apply request."""

    dry_run: bool
    wait: float | None
    """Seconds, None for not waiting."""


async def apply(request: Request) -> Response:
    """POST /v1/config: parse, check and store documents; answer what changed and, with `wait`, who took it."""
    plane = control_plane(request)
    try:
        options = apply_options(request.query_params)
        note_objects(request, [], changes=not options.dry_run)
        files = _files(await bounded_body(request), request)
    except RequestError as error:
        return error_response(400, "bad_request", str(error))
    except BodyTooLargeError:
        return error_response(413, "too_large", "the request is larger than 8 MiB", "apply it in several parts")
    except TimeoutError:
        return error_response(408, "timeout", "the body did not arrive in time")
    # Parsing 8 MiB takes a while; a thread keeps the streams to the proxies moving.
    parsed = await asyncio.to_thread(parse_files, files)
    if has_errors(parsed.findings):
        return error_response(
            422, "invalid", "the configuration has errors, nothing was applied", findings=parsed.findings
        )
    note_objects(request, [found.key for found in parsed.objects])
    return await _apply_parsed(plane, parsed, options)


async def _apply_parsed(plane: ControlPlane, parsed: Parsed, options: ApplyOptions) -> Response:
    objects = parsed.objects
    managed = [(found.key, origin) for found in objects if (origin := plane.read_only(found.key))]
    if managed:
        return _read_only(ReadOnlyObjectError(*managed[0]))
    before = plane.objects()
    applied = [
        AppliedObject(
            kind=document_kind(found.key.kind),
            namespace=found.key.namespace,
            name=found.key.name,
            action=_action(before.get(found.key), found),
        )
        for found in objects
    ]
    findings = (*parsed.findings, *(await plane.preview(objects, parsed.positions)))
    proxies: list[ProxyView] = []
    if options.dry_run:
        revision = plane.state.version if plane.state else ""
    else:
        try:
            revision = await plane.put(objects)
        except ReadOnlyObjectError as error:
            return _read_only(error)
        if options.wait is not None:
            proxies = proxy_views(await plane.wait_synced(revision, options.wait))
    answer = ApplyAnswer(
        revision=revision,
        dry_run=options.dry_run,
        applied=applied,
        findings=[finding_view(finding) for finding in findings],
        proxies=proxies,
        synced=options.wait is not None and not options.dry_run and plane.is_synced(revision),
    )
    return json_response(answer)


def _action(before: ConfigObject[Any] | None, after: ConfigObject[Any]) -> str:
    if before is None:
        return "created"
    if before.digest == after.digest or whole_document(before) == whole_document(after):
        return "unchanged"
    return "configured"


def parse_files(files: ApplyFiles) -> Parsed:
    """Return what all files hold together; keys are unique unless a finding says otherwise."""
    objects: list[ConfigObject[Any]] = []
    findings: list[Finding] = []
    positions: dict[ObjectKey, Positions] = {}
    for file in files.files:
        parsed = parse(file.content.encode(), file.name, default_namespace=files.namespace or DEFAULT_NAMESPACE)
        objects.extend(parsed.objects)
        findings.extend(parsed.findings)
        positions |= parsed.positions
    findings.extend(find_duplicates(objects))
    return Parsed(objects=tuple(objects), findings=tuple(findings), positions=positions)


def _files(body: bytes, request: Request) -> ApplyFiles:
    if request.headers.get("content-type", "").partition(";")[0].strip() == FILES_TYPE:
        try:
            return msgspec.json.decode(body, type=ApplyFiles)
        except msgspec.DecodeError as error:
            raise RequestError(f"the body is not {FILES_TYPE}: {error}") from error
    try:
        content = body.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    namespace = request.query_params.get("namespace", "")
    return ApplyFiles(
        files=[SourceFile(name=request.query_params.get("file", "api"), content=content)], namespace=namespace
    )


def apply_options(query: Mapping[str, str]) -> ApplyOptions:
    """Read `dry_run` and `wait`. Raises RequestError."""
    dry_run = query.get("dry_run", "false").lower()
    if dry_run not in ("", "true", "false", "1", "0"):
        raise RequestError(f"dry_run must be true or false, not {dry_run!r}")
    return ApplyOptions(dry_run=dry_run in ("", "true", "1"), wait=wait_seconds(query))


def wait_seconds(query: Mapping[str, str]) -> float | None:
    """Read `wait`, None when nobody wants to. Raises RequestError."""
    wait = query.get("wait")
    try:
        seconds = None if wait is None else float(wait)
    except ValueError:
        raise RequestError(f"wait must be a number of seconds, not {wait!r}") from None
    if seconds is not None and not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise RequestError(f"wait must be between 0 and {MAX_WAIT_SECONDS:.0f} seconds")
    return seconds


async def list_config(request: Request) -> Response:
    """GET /v1/config/{kind}: objects of a kind, of one namespace with `?namespace=`."""
    plane = control_plane(request)
    kind = kind_named(request.path_params["kind"])
    if kind is None:
        return _unknown_kind(request.path_params["kind"])
    namespace = request.query_params.get("namespace")
    items = [
        config_item(found, plane.read_only(key), plane.state)
        for key, found in plane.objects().items()
        if key.kind == kind.name and (not kind.namespaced or namespace in (None, "", key.namespace))
    ]
    return json_response(ConfigList(items=items))


async def get_config(request: Request) -> Response:
    """GET /v1/config/{kind}/{namespace}/{name}: one object."""
    plane = control_plane(request)
    key = _key(request)
    if key is None:
        return _unknown_kind(request.path_params["kind"])
    found = plane.objects().get(key)
    if found is None:
        return error_response(404, "not_found", f"there is no {key}")
    return json_response(config_item(found, plane.read_only(key), plane.state))


async def delete_config(request: Request) -> Response:
    """DELETE /v1/config/{kind}/{namespace}/{name}: remove one object; with `wait`, answer when all have."""
    plane = control_plane(request)
    key = _key(request)
    if key is None:
        return _unknown_kind(request.path_params["kind"])
    note_objects(request, [key])
    try:
        wait = wait_seconds(request.query_params)
    except RequestError as error:
        return error_response(400, "bad_request", str(error))
    try:
        revision = await plane.remove(key)
    except KeyError:
        return error_response(404, "not_found", f"there is no {key}")
    except ReadOnlyObjectError as error:
        return _read_only(error)
    if wait is not None:
        await plane.wait_synced(revision, wait)
    synced = wait is not None and plane.is_synced(revision)
    answer = DeleteAnswer(
        revision=revision, kind=document_kind(key.kind), namespace=key.namespace, name=key.name, synced=synced
    )
    return json_response(answer)


async def list_findings(request: Request) -> Response:
    """GET /v1/findings: what is wrong with the configuration in force."""
    plane = control_plane(request)
    await plane.look_again()
    return json_response(FindingList(items=[finding_view(found) for found in plane.findings()]))


def control_plane(request: Request) -> ControlPlane:
    """Return the control plane that this application serves."""
    plane: ControlPlane = request.app.state.control_plane
    return plane


def _key(request: Request) -> ObjectKey | None:
    kind = kind_named(request.path_params["kind"])
    if kind is None:
        return None
    namespace = request.path_params["namespace"] if kind.namespaced else ""
    return ObjectKey(kind.name, namespace, request.path_params["name"])


def _unknown_kind(word: str) -> Response:
    return error_response(
        404, "unknown_kind", f"there is no kind {word[:100]!r}", "kinds are named as in kubectl: virtualservices, vs"
    )


def _read_only(error: ReadOnlyObjectError) -> Response:
    return error_response(409, "read_only", str(error), "change that file instead: the control plane watches it")
