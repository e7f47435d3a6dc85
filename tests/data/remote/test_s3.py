"""Files in S3, from a server on loopback: credentials from the environment and nowhere else."""

import random
from collections.abc import Iterator

import pytest

from runjob.data.remote import BLOCK
from runjob.data.sources import open_source
from runjob.schemas.errors import MissingError

LARGE = random.Random(1).randbytes(BLOCK + 99)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The bucket `corpora` as boto3 sees it."""
    import boto3
    import fsspec
    from moto.server import ThreadedMotoServer

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        bucket = boto3.resource("s3").Bucket("corpora")
        bucket.create()
        yield bucket
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        server.stop()


def test_documents_in_a_bucket_are_read_and_fetched_once(bucket, downloads, told, tmp_path, make_text, monkeypatch):
    for name in ("a.txt", "b.txt", "c.md"):
        bucket.put_object(Key=f"text/{name}", Body=name.encode())
    bucket.put_object(Key="large.bin", Body=LARGE)

    def texts(*paths: str) -> list[str]:
        return [document.text for document in open_source(make_text(*paths), downloads=downloads).documents()]

    assert texts("s3://corpora/text/*.txt") == ["a.txt", "b.txt"]
    [large] = downloads.fetch("s3://corpora/large.bin").values()
    assert large.read_bytes() == LARGE
    bucket.put_object(Key="text/a.txt", Body=b"another")
    assert texts("s3://corpora/text/a.txt", "s3://corpora/text/b.txt") == ["another", "b.txt"]
    assert "hunter2" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))

    with pytest.raises(MissingError, match=r"s3://corpora/none\.txt can't be fetched: there is no such file"):
        texts("s3://corpora/none.txt")
    with pytest.raises(MissingError, match=r"s3://corpora/text .*it is a directory; name its files, .*/text/\*\.txt"):
        texts("s3://corpora/text")

    import fsspec

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(MissingError, match=r"Unable to locate credentials.*FSSPEC_S3_ANON=true"):
        texts("s3://corpora/other.txt")
