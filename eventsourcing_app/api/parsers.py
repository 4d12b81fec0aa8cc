"""Reads request bodies: strict JSON of limited size, with decimals as exact as they were written."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO


class BodyTooLarge(APIException):
    """The body is larger than ``DATA_UPLOAD_MAX_MEMORY_SIZE``."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = _("The body is too large.")
    default_code = "body_too_large"


class JSONParser(BaseParser):
    """RFC 8259 JSON in UTF-8, up to Django's ``DATA_UPLOAD_MAX_MEMORY_SIZE``.

    Refused are NaN and infinities, names that come twice, and nesting too deep to be read. Numbers with a fraction
    become ``Decimal``: an amount is never rounded on its way in.
    """

    media_type = "application/json"
    renderer_class = JSONRenderer

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = self._read(stream, parser_context or {})
        try:
            return json.loads(
                body.decode("utf-8"), parse_float=_exact, parse_constant=_no_constant, object_pairs_hook=_no_duplicates
            )
        except ValueError as error:
            raise ParseError(_("The body is not valid JSON: %s.") % error) from error
        except RecursionError as error:
            raise ParseError(_("The body is nested too deeply.")) from error

    def _read(self, stream: IO[Any], parser_context: Mapping[str, Any]) -> bytes:
        limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if limit is None:
            whole: bytes = stream.read()
            return whole
        request = parser_context.get("request")
        declared = request.META.get("CONTENT_LENGTH", "") if request is not None else ""
        if str(declared).isdigit() and int(declared) > limit:
            raise BodyTooLarge
        body: bytes = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge
        return body


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"the number {text:.40} is out of range") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!a:.80} comes twice")
    return found
