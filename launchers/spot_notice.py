"""The watcher of spot interruption notices: `python -m runjob.launchers.spot_notice RUN`, a companion of the training
on a spot machine of Amazon's.

Two minutes before it takes a spot machine back, Amazon says so to the machine itself, at its instance metadata service
(IMDSv2: a token first, then `spot/instance-action`, which is 404 until there is a notice). The watcher turns the notice
into the same request to stop that everything else is (attempts/N/stop.json), and status.json says why.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path

from runjob.schemas.lifeline import ATTEMPT_VARIABLE, die_with_parent
from runjob.schemas.own_log import say
from runjob.schemas.plan import RUN_ENVIRONMENT, Companion
from runjob.schemas.run import RunDir

# The name and the default that AWS's own libraries have
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
ENDPOINT = "http://169.254.169.254"
# The notice comes two minutes ahead and AWS says to look every 5 s; what is saved belongs to the save
POLL_S = 2.0
PATIENCE_S = 2.0
TOKEN_LIVES_S = 6 * 3600
TOKEN_RENEWED_S = TOKEN_LIVES_S / 2


def spot_companion() -> Companion:
    """For the plan of a job that runs on a spot machine."""
    argv = ("{python}", "-m", "runjob.launchers.spot_notice", "{run}")
    return Companion(name="spot_notice", argv=argv, env=RUN_ENVIRONMENT, finish_s=0)


class Metadata:
    """The metadata service of the machine that this runs on; never through a proxy."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.token, self.renew_at = "", 0.0

    def notice(self) -> str | None:
        """The time at which the machine goes, as the service says it; None while there is no notice. OSError if the
        service can't be asked."""
        try:
            return str(json.loads(self._get("/latest/meta-data/spot/instance-action"))["time"])
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            if error.code == HTTPStatus.UNAUTHORIZED:
                self.renew_at = 0.0  # the token was forgotten there: the next look fetches another
            raise

    def _get(self, path: str) -> bytes:
        if time.monotonic() >= self.renew_at:
            lives = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIVES_S)}
            self.token = self._ask("/latest/api/token", method="PUT", headers=lives).decode("ascii")
            self.renew_at = time.monotonic() + TOKEN_RENEWED_S
        return self._ask(path, method="GET", headers={"X-aws-ec2-metadata-token": self.token})

    def _ask(self, path: str, *, method: str, headers: dict[str, str]) -> bytes:
        request = urllib.request.Request(self.endpoint + path, method=method, headers=headers)
        with self.opener.open(request, timeout=PATIENCE_S) as answer:
            data: bytes = answer.read()
            return data


def watch(run: RunDir, number: int) -> int:
    metadata = Metadata(os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT)
    said = ""
    while True:
        try:
            when, trouble = metadata.notice(), ""
        except (OSError, ValueError, KeyError) as error:
            when, trouble = None, f"the metadata service at {metadata.endpoint} can't be asked: {error}"
        if when is not None:
            say(f"spot interruption at {when}: the job is asked to save and stop")
            run.attempt(number).request_stop("preempt", note=f"spot interruption at {when}")
            return 0
        if trouble != said:
            say(trouble or f"the metadata service at {metadata.endpoint} answers; there is no notice")
            said = trouble
        time.sleep(POLL_S)


def main() -> int:
    die_with_parent()
    return watch(RunDir(Path(sys.argv[1])), int(os.environ[ATTEMPT_VARIABLE]))


if __name__ == "__main__":
    sys.exit(main())
