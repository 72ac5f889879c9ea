"""A meeting that nobody joins, on a server that ends such meetings after a second."""

import time
import uuid

import boto3

meetings = boto3.client("chime-sdk-meetings")
made = meetings.create_meeting(ClientRequestToken=str(uuid.uuid4()), MediaRegion="us-east-1", ExternalMeetingId="alone")
identity = made["Meeting"]["MeetingId"]
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    try:
        meetings.get_meeting(MeetingId=identity)
    except meetings.exceptions.NotFoundException:
        break
    time.sleep(0.2)
else:
    raise SystemExit("the meeting still lives after a minute")
