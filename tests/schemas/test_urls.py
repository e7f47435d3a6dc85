"""Addresses in job files: what is one, what may not stand in one, and that no message repeats a secret."""

import pytest

from runjob.schemas.read import JobFileError, read_job
from runjob.schemas.urls import hide_secrets, is_url, url_problem
from tests.conftest import ROOT

SMALLEST = ROOT / "tests" / "cases" / "valid" / "smallest.yaml"


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/a%20b.txt?part=1",
        "http://[::1]:8000/*.txt",
        "s3://bucket/key/*.jsonl.gz",
        "file:///tmp/a.txt",
        "hf://datasets/org/name/data/a.parquet",
        "abfs://container@account.dfs.core.windows.net/a.txt",
    ],
)
def test_an_address_without_secrets_may_stand_in_a_job(text: str):
    assert is_url(text)
    assert url_problem(text) is None
    assert hide_secrets(text) == text or "@" in text
    assert text in str(read_job(SMALLEST, [f"data.path={text}"]).job.data)


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@host/a.txt",
        "https://hunter2@host/a.txt",
        "HTTPS://hunter2@host/a.txt",
        "sftp://me:hunter2@host/a.txt",
        "https://host/a.txt?part=1&X-Amz-Signature=hunter2",
        "https://host/a.txt?sig=hunter2&part=1",
    ],
)
@pytest.mark.parametrize("value", ["{}", "[a.txt, '{}']"])
def test_a_secret_is_refused_and_not_repeated(text: str, value: str):
    with pytest.raises(JobFileError) as caught:
        read_job(SMALLEST, [f"data.path={value.format(text)}"])
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in "".join(f"{problem}{problem.file}" for problem in caught.value.problems)
    assert "docs/data.md" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zip://a.txt::https://host/a.zip", "chains addresses"),
        ("https:///a.txt", "names no host"),
        ("http://[::1/a.txt", "no address that can be read"),
    ],
)
def test_what_is_no_address_of_a_file_is_said(text: str, said: str):
    assert said in (url_problem(text) or "")


def test_paths_and_names_are_no_addresses():
    assert not any(map(is_url, ["corpus.txt", "sample:dutch", "org/name", "/a://b", "C:\\a.txt"]))
