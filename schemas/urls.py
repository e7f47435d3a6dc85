"""Addresses (`https://...`, `s3://...`) in a job file: which texts are one, and what may not stand in one.

A job file, its job.json and its logs are passed around, so no password and no signed link may get into them. Who
needs credentials gives them to the library that reads the address, in its own variables and profiles (docs/data.md).
"""

import re
import urllib.parse

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
BRACKETS = re.compile(r"\[[^\]]*\]")  # of an IPv6 host
USER = re.compile(r"(://)[^/?#\s]*@")
# Fields of a link that let in whoever has the link, as S3, Google, Azure and common services name them
SECRETS = (
    "x-amz-signature|x-amz-security-token|x-goog-signature|signature|sig|token|access_token|auth_token|api_key|apikey"
    "|password|secret"
)
SECRET = re.compile(rf"([?&](?:{SECRETS})=)[^&#\s]*", re.IGNORECASE)
# Where a name before `@` always comes with a password or is a token itself; for others (abfs://container@account) not
WEB = ("http", "https", "ftp", "ftps", "webdav")
# hf could be written to, but each file would be a commit
READ_ONLY = ("http", "https", "data", "github", "git", "zip", "tar", "hf")


def is_url(text: str) -> bool:
    return ADDRESS.match(text) is not None


def hide_secrets(text: str) -> str:
    """The same text for messages: no user, no password and no signature of an address in it.

    >>> hide_secrets("https://me:1234@host/a.txt?sig=abc&part=2")
    'https://...@host/a.txt?sig=...&part=2'
    """
    return SECRET.sub(r"\1...", USER.sub(r"\1...@", text))


def remote_problem(text: str) -> str | None:
    """What keeps a folder at an address from being written to, as far as the address alone says."""
    problem = url_problem(text)
    if problem is not None:
        return problem
    if "?" in text or "#" in text:
        return "holds a query (`?`, `#`), behind which no folder can stand; write the address of a folder"
    kind = text.partition("://")[0]
    if kind in READ_ONLY:
        return f"{kind}:// can only be read; write for example s3://bucket/runs or file:///shared/runs"
    if kind == "memory":
        return "memory:// is gone with the process; write for example s3://bucket/runs or file:///shared/runs"
    return None


def url_problem(text: str) -> str | None:
    """What is wrong with an address, without repeating what is secret in it."""
    try:
        parts = urllib.parse.urlsplit(text)
        user = "@" in parts.netloc
        secret = user and (parts.scheme.lower() in WEB or ":" in parts.netloc.rpartition("@")[0])
    except ValueError as error:  # brackets that are no IPv6 address
        return f"is no address that can be read ({error})"
    if secret:
        return (
            f"{hide_secrets(text)} holds a user name or password, which would stand in job.json and in logs; leave it "
            f"out and give it to the library (~/.netrc for http, AWS_PROFILE for s3; docs/data.md)"
        )
    if SECRET.search(text):
        return (
            f"{hide_secrets(text)} is a signed link: who reads job.json could use it; fetch the file yourself and "
            f"write its path, or write the plain address and give credentials to the library (docs/data.md)"
        )
    if "::" in BRACKETS.sub("", text):
        return f"{hide_secrets(text)} chains addresses with `::`; write the address of the file itself"
    if not parts.netloc and parts.scheme not in ("file", "local", "memory"):
        return f"{text} names no host or bucket; write for example https://host/corpus.txt.gz"
    return None
