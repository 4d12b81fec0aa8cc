"""Bodies that ask for too much, for another account of ``demo_bank``: each is refused, and costs next to nothing."""

from __future__ import annotations


def deep(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * levels + "1" + closing * levels).encode()


BODIES = {
    "deep arrays": deep(10_000),
    "deep objects": deep(10_000, '{"a":', "}"),
    "deep and open": b"[" * 100_000,
    "deep and mixed": b'{"a":[' * 20_000 + b"]}" * 20_000,
    "deep behind a string": b'["' + b'\\"' * 10_000 + b'",' + deep(10_000) + b"]",
    "a string without an end": b'{"owner": "' + b'\\"[' * 100_000,
    "quotes and nothing else": b'"' * 200_000,
    "many brackets": b"[" + b"[],{}," * 300_000 + b"1]",
    "many that are as deep as may be": b"[" + (deep(60) + b",") * 19_000 + b"1]",
    "an argument that is deep": b'{"owner": ' + deep(60) + b"}",
    "NaN": b'{"owner": "Ada", "overdraft_limit": NaN}',
    "infinity": b'{"owner": "Ada", "overdraft_limit": -Infinity}',
    "text of infinity": b'{"owner": "Ada", "overdraft_limit": "Infinity"}',
    "NUL": b'{"owner": "A\\u0000da"}',
    "a plain NUL": b'{"owner": "A\x00da"}',
    "half a character": b'{"owner": "A\\ud800da"}',
    "half a character as a name": b'{"owner": "Ada", "\\ud800": 1}',
    "a name that comes twice": b'{"owner": "Ada", "owner": "Bob"}',
    "many names that come twice": ("{" + ",".join(f'"n{n % 50_000}":1' for n in range(100_000)) + "}").encode(),
    "a long integer": b'{"owner": "Ada", "overdraft_limit": ' + b"9" * 1_000_000 + b"}",
    "a long fraction": b'{"owner": "Ada", "overdraft_limit": 0.' + b"9" * 1_000_000 + b"}",
    "a long exponent": b'{"owner": "Ada", "overdraft_limit": 1e1000000000}',
    "a longer exponent": b'{"owner": "Ada", "overdraft_limit": 1e' + b"9" * 100 + b"}",
    "a small exponent": b'{"owner": "Ada", "overdraft_limit": 1e-1000000000}',
    "text of a long number": b'{"owner": "Ada", "overdraft_limit": "' + b"9" * 1_000_000 + b'"}',
    "text of an exponent": b'{"owner": "Ada", "overdraft_limit": "1e1000000000"}',
    "a keyword of the ORM": b'{"owner": "Ada", "_connector": "OR"}',
    "another keyword of the ORM": b'{"owner": "Ada", "_negated": true}',
    "a lookup": b'{"owner__startswith": "A"}',
    "self": b'{"owner": "Ada", "self": 1}',
    "100,000 unknown arguments": ("{" + ",".join(f'"n{n}":1' for n in range(100_000)) + "}").encode(),
    "a long unknown argument": b'{"owner": "Ada", "' + b"x" * 2_000_000 + b'": 1}',
    "a long value": b'{"owner": "' + b"x" * 2_000_000 + b'"}',
    "a long currency": b'{"owner": "Ada", "currency": "' + b"x" * 2_000_000 + b'"}',
    "another encoding": '{"owner": "Ada"}'.encode("utf-16"),
    "no UTF-8": b'{"owner": "\xff"}',
    "a list": b'[{"owner": "Ada"}]',
    "a text": b'"Ada"',
    "nothing": b"null",
    "no body": b"",
    "a form": b"owner=Ada",
}
