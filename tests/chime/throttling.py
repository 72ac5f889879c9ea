"""More requests at once than an organisation may make."""

import uuid

import boto3
from botocore.config import Config

meetings = boto3.client("chime-sdk-meetings", config=Config(retries={"total_max_attempts": 1}))
refused = None
for _ in range(400):
    try:
        meetings.get_meeting(MeetingId=str(uuid.uuid4()))
    except meetings.exceptions.NotFoundException:
        continue
    except meetings.exceptions.ThrottlingException as error:
        refused = error.response
        break
if refused is None:
    raise SystemExit("nothing was throttled")
assert refused["ResponseMetadata"]["HTTPStatusCode"] == 429
assert refused["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
# Both services draw on the same rate, each in the words of its own model.
pipelines = boto3.client("chime-sdk-media-pipelines", config=Config(retries={"total_max_attempts": 1}))
for _ in range(400):
    try:
        pipelines.get_media_pipeline(MediaPipelineId=str(uuid.uuid4()))
    except pipelines.exceptions.NotFoundException:
        continue
    except pipelines.exceptions.ThrottledClientException:
        break
else:
    raise SystemExit("no pipeline's request was throttled")
# The SDK's own retries get through.
patient = boto3.client("chime-sdk-meetings", config=Config(retries={"mode": "standard", "total_max_attempts": 10}))
made = patient.create_meeting(ClientRequestToken=str(uuid.uuid4()), MediaRegion="us-east-1", ExternalMeetingId="patient")
assert made["Meeting"]["MeetingId"]
