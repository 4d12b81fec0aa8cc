"""What must never be stored: names of secrets, and values that look like one.

The log can never be erased, so keys that name a secret and values that look like one are refused on entry. A key is
split into words at separators, digits and camelCase; words, and neighbouring words put together, are compared without
regard to case: ``X-Api-Key``, ``userPassword`` and ``sessionid`` are refused, ``author``, ``pinned`` and ``secretary``
are not. A key that says something *about* a secret passes by its first word (``has_password``, ``max_tokens``) or its
last (``token_count``, ``cookie_policy_version``, ``password_changed_at``), but not past ``DENIED_METADATA``.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Iterator

# For each word of a key, and up to three neighbouring words put together.
_NAME = re.compile(
    r"pass(word|wd|phrase|code)|pwd?|(user|db)pass|pin(code)?|[ht]?otp|(recovery|backup|security|access)codes?|creds?"
    r"|bearer|jwt|(proxy|http)?authorization|authheader|session(s|ids?|key)?|[cx]srf|seedphrase|mnemonic"
    r"|(api|private|secret|access|signing|encryption|master|ssh)keys?|card(numbers?|no|pan)|(credit|debit)card|pan|cv[cv]"
)
# For single words only, or ``compass_words`` would contain a password.
_WITHIN_A_WORD = re.compile(
    r".*(password|passwd|passphrase)(?!less).*|.*(secret|token|credential|cookie|(api|private)key|sess(ion)?id)s?"
)
_ABOUT = re.compile(
    r"(has|is|max|min|num) .*"
    r"|.* (age|at|changed|consent|count|enabled|expired|expiry|length|limit|policy|required|strength|type|version)"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LETTERS = re.compile(r"[^\W\d_]+")
_SCHEME = re.compile(r"\b(bearer|basic)\s+([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_KEY_MATERIAL = re.compile(r"\beyJ[\w-]{4,512}\.eyJ[\w-]{2}|-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----")


def refused_key(key: str) -> str | None:
    """Why metadata may not have this key, or ``None``."""
    return _refused_key(key, tuple(conf.DENIED_METADATA))


def refused_value(value: str) -> str | None:
    """Why nothing in the context may have this value, or ``None``."""
    if _KEY_MATERIAL.search(value) or any(_is_credential(value, match) for match in _SCHEME.finditer(value)):
        return "its value looks like a credential, and the log cannot be erased. Leave it out."
    return None


@lru_cache(maxsize=1024)
def _refused_key(key: str, denied: tuple[str, ...]) -> str | None:
    camel, plain = _words(_CAMEL.sub(" ", key)), _words(key)
    own = {"".join(_words(word)) for word in denied}
    longest = max([3, *(len(_words(_CAMEL.sub(" ", word))) for word in denied)])
    runs = sorted({run for words in (camel, plain) for run in _runs(words, longest)})
    found = next((run for run in runs if run in own), None)
    if found is None and not _ABOUT.fullmatch(" ".join(camel)):
        found = next((run for run in runs if _NAME.fullmatch(run)), None)
        found = found or next((word for word in (*camel, *plain) if _WITHIN_A_WORD.fullmatch(word)), None)
    if found is None:
        return None
    return (
        f"its name contains {found!r}, which is reserved for what must never be stored, and the log cannot be erased. "
        "Leave it out, or store something that is no secret, such as the key of a row, under another name."
    )


def _words(text: str) -> list[str]:
    return _LETTERS.findall(text.lower())


def _runs(words: list[str], longest: int) -> Iterator[str]:
    return ("".join(words[at : at + n]) for at in range(len(words)) for n in range(1, longest + 1))


def _is_credential(value: str, match: re.Match[str]) -> bool:
    scheme, secret = match[1].lower(), match[2]
    if scheme == "bearer":  # not the bearer of ordinary prose
        return match[0] == value.strip() or (len(secret) >= 16 and any(map(str.isdigit, secret)))
    try:  # RFC 7617: base64 of user-id ":" password; so "Basic plan" is none
        return b":" in base64.b64decode(secret + "=" * (-len(secret) % 4), validate=True)
    except binascii.Error:
        return False
