"""A server that cannot answer: both services say it by the exception that the first argument names, and say when to come back."""

import sys
import uuid

import boto3
from botocore.config import Config

once = Config(retries={"total_max_attempts": 1}, read_timeout=60)
meetings = boto3.client("chime-sdk-meetings", config=once)
pipelines = boto3.client("chime-sdk-media-pipelines", config=once)
for client, ask in [
    (meetings, lambda: meetings.get_meeting(MeetingId=str(uuid.uuid4()))),
    (pipelines, lambda: pipelines.get_media_pipeline(MediaPipelineId=str(uuid.uuid4()))),
]:
    expected = getattr(client.exceptions, sys.argv[1])
    try:
        ask()
    except expected as error:
        headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        if sys.argv[1] == "ServiceUnavailableException":
            assert int(headers["retry-after"]) > 0, headers
    else:
        raise SystemExit("nothing was refused")
