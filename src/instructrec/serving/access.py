"""Who may do what: API keys in the header, where they are required."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from instructrec.serving.service import Service
from instructrec.serving.store.keys import Kind


def service_of(request: Request) -> Service:
    """The service behind a request."""
    found: Service = request.app.state.service
    return found


ServiceHere = Annotated[Service, Depends(service_of)]


def _sent(request: Request) -> str:
    """The key of a request: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return request.headers.get("x-api-key", "").strip()


def _kind(request: Request, service: Service) -> Kind | None:
    sent = _sent(request)
    admin = service.config.admin_key
    if admin is not None and hmac.compare_digest(sent.encode(), admin.get_secret_value().encode()):
        return "admin"
    return service.store.kind_of(sent) if sent else None


def may_ask(request: Request, service: ServiceHere) -> None:
    """Lets any valid key pass.

    Raises:
        HTTPException: 401 without one.
    """
    if service.config.needs_keys and _kind(request, service) is None:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})


def may_administer(request: Request, service: ServiceHere) -> None:
    """Lets keys for administration pass.

    Raises:
        HTTPException: 401 without a valid key, 403 with one of another kind.
    """
    if not service.config.needs_keys:
        return
    kind = _kind(request, service)
    if kind is None:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    if kind != "admin":
        raise HTTPException(403)


ASKING = Depends(may_ask)
ADMINISTERING = Depends(may_administer)
