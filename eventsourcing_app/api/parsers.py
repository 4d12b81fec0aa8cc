"""Reads request bodies: strict JSON of limited size, with decimals as exact as they were written."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NoReturn

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO


MAX_DEPTH: Final = 64
"""Deepest nesting of a body."""
MAX_VALUES: Final = 20_000
"""How many values a body has at most, all its arrays and objects together."""
MAX_DIGITS: Final = 1000
"""Longest number, in characters."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+\\?"?', re.DOTALL)  # also one that does not end: then each byte is read once
_OTHERS = bytes(set(range(256)) - set(b"[]{},"))
_LONGEST_LENGTH = 20  # digits
_AS_ARRAYS = bytes.maketrans(b"{}", b"[]")
_STEPS = {ord("["): 1, ord("]"): -1}


class LengthRequired(APIException):
    """A body came in chunks, and nothing says how long it is: under WSGI nobody would read it."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = _("Send Content-Length: a body of unknown length is not read.")
    default_code = "length_required"


class EncodingNotSupported(APIException):
    """A compressed body: how large it really is shows only when it is too late."""

    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_detail = _("Send the body as it is, without Content-Encoding.")
    default_code = "content_encoding_not_supported"


class BodyTooLarge(APIException):
    """The body is larger than ``DATA_UPLOAD_MAX_MEMORY_SIZE``."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = _("The body is too large.")
    default_code = "body_too_large"


class JSONParser(BaseParser):
    """RFC 8259 JSON in UTF-8, up to Django's ``DATA_UPLOAD_MAX_MEMORY_SIZE``.

    Refused are NaN and infinities, names that come twice, numbers of more than ``MAX_DIGITS`` characters, nesting
    deeper than ``MAX_DEPTH``, and more than ``MAX_VALUES`` values. Numbers with a fraction become ``Decimal``: an
    amount is never rounded on its way in.
    """

    media_type = "application/json"
    renderer_class = JSONRenderer

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = self._read(stream, parser_context or {})
        try:
            _check_shape(body)
            return json.loads(
                body.decode("utf-8"),
                parse_int=_whole,
                parse_float=_exact,
                parse_constant=_no_constant,
                object_pairs_hook=_no_duplicates,
            )
        except ValueError as error:
            raise ParseError(_("The body is not valid JSON: %s.") % error) from error

    def _read(self, stream: IO[Any], parser_context: Mapping[str, Any]) -> bytes:
        limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if limit is None:
            whole: bytes = stream.read()
            return whole
        request = parser_context.get("request")
        if request is not None:
            check_declared(request.META)
        body: bytes = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge
        return body


def check_declared(meta: Mapping[str, Any]) -> None:
    """Refuse a body by what its headers say, before a byte of it is read.

    Raises ``LengthRequired``, ``EncodingNotSupported``, ``BodyTooLarge``.
    """
    declared = str(meta.get("CONTENT_LENGTH") or "")
    if meta.get("HTTP_TRANSFER_ENCODING") and not declared:
        raise LengthRequired
    if meta.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        raise EncodingNotSupported
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if limit is not None and declared.isdecimal() and (len(declared) > _LONGEST_LENGTH or int(declared) > limit):
        raise BodyTooLarge


def _check_shape(body: bytes) -> None:
    """Refuse what is too deep or has too many values by a look at its punctuation, without recursion, in linear time.

    Of malformed text the count may be wrong; the parser refuses it anyway. Raises ``ValueError``.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened <= MAX_DEPTH and opened + body.count(b",") < MAX_VALUES:
        return
    punctuation = _STRING.sub(b"", body).translate(_AS_ARRAYS, _OTHERS)
    if punctuation.count(b",") + punctuation.count(b"[") >= MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    # No more of them can be in order: each that opens closes once.
    brackets = punctuation.replace(b",", b"")[: 2 * MAX_VALUES]
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _whole(text: str) -> int:
    _check_digits(text)
    return int(text)


def _exact(text: str) -> Decimal:
    _check_digits(text)
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"the number {text:.40} is out of range") from error


def _check_digits(text: str) -> None:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {text:.40}… has more than {MAX_DIGITS} characters")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set[str]()
        for name, _value in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:80]!a} comes twice")
            seen.add(name)
    return found
