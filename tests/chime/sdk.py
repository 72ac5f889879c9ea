"""Every operation and every exception of both services, as boto3 sends and reads them.

The names of operations and exceptions come from the service models that boto3 carries: a new one in a newer boto3 fails here until
somebody has thought about it.
"""

import datetime
import pathlib
import re
import time
import unittest
import uuid

import boto3
import botocore
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config

ONCE = Config(retries={"total_max_attempts": 1})
CALLED = {"chime-sdk-meetings": set(), "chime-sdk-media-pipelines": set()}
SEEN = {"chime-sdk-meetings": set(), "chime-sdk-media-pipelines": set()}

# What has scripts of its own, because the whole server takes part: failing.py and throttling.py.
NOT_PROVOKED = {
    "chime-sdk-meetings": {"ServiceFailureException", "ServiceUnavailableException", "ThrottlingException"},
    "chime-sdk-media-pipelines": {
        "ServiceFailureException",
        "ServiceUnavailableException",
        "ThrottledClientException",
    },
}


def client(service, **more):
    made = boto3.client(service, config=more.pop("config", ONCE), **more)
    made.meta.events.register("before-call", lambda model, **_: CALLED[service].add(model.name))
    return made


meetings = client("chime-sdk-meetings")
pipelines = client("chime-sdk-media-pipelines")


def token():
    return str(uuid.uuid4())


class Case(unittest.TestCase):
    def refused(self, name, operation, **parameters):
        service = operation.__self__.meta.service_model.service_name
        exception = getattr(operation.__self__.exceptions, name)
        with self.assertRaises(exception) as caught:
            operation(**parameters)
        SEEN[service].add(name)
        answer = caught.exception.response
        metadata = answer["ResponseMetadata"]
        self.assertTrue(answer["Error"]["Message"])
        self.assertEqual(metadata["RequestId"], metadata["HTTPHeaders"]["x-amzn-requestid"])
        return answer

    def meeting(self, **more):
        parameters = {"ClientRequestToken": token(), "MediaRegion": "us-east-1", "ExternalMeetingId": "visit 1", **more}
        made = meetings.create_meeting(**parameters)["Meeting"]
        self.addCleanup(self.end, made["MeetingId"])
        return made

    def end(self, meeting):
        try:
            meetings.delete_meeting(MeetingId=meeting)
        except meetings.exceptions.NotFoundException:
            pass


class Meetings(Case):
    def test_a_meeting_has_what_the_client_needs(self):
        made = self.meeting(
            ExternalMeetingId="José #1",
            MeetingHostId="host 1",
            TenantIds=["tenant-1"],
            Tags=[{"Key": "a", "Value": ""}],
            MeetingFeatures={"Audio": {"EchoReduction": "AVAILABLE"}, "Attendee": {"MaxCount": 25}, "Video": {"MaxResolution": "FHD"}},
            NotificationsConfiguration={"SqsQueueArn": "arn:aws:sqs:us-east-1:000000000001:queue"},
            MediaPlacementNetworkType="DualStack",
        )
        identity = made["MeetingId"]
        self.assertEqual(str(uuid.UUID(identity)), identity)
        self.assertEqual(made["ExternalMeetingId"], "José #1")
        self.assertEqual(made["MeetingHostId"], "host 1")
        self.assertEqual(made["TenantIds"], ["tenant-1"])
        self.assertEqual(made["MeetingFeatures"]["Attendee"]["MaxCount"], 25)
        self.assertRegex(made["MeetingArn"], r"^arn:aws:chime:us-east-1:\d{12}:meeting/" + identity + "$")
        place = made["MediaPlacement"]
        self.assertRegex(place["SignalingUrl"], r"^wss?://[^/?]+/control/" + identity + "$")
        self.assertTrue(place["AudioHostUrl"])
        # Every member of the model is there, as text.
        shape = meetings.meta.service_model.shape_for("MediaPlacement")
        for name in shape.members:
            self.assertIsInstance(place[name], str, name)
        self.assertEqual(meetings.get_meeting(MeetingId=identity)["Meeting"], made)

    def test_a_token_makes_one_meeting_while_it_lives(self):
        parameters = {"ClientRequestToken": token(), "MediaRegion": "us-east-1", "ExternalMeetingId": "once"}
        first = meetings.create_meeting(**parameters)["Meeting"]
        self.assertEqual(meetings.create_meeting(**parameters)["Meeting"], first)
        self.refused("ConflictException", meetings.create_meeting, **{**parameters, "ExternalMeetingId": "twice"})
        meetings.delete_meeting(MeetingId=first["MeetingId"])
        second = meetings.create_meeting(**parameters)["Meeting"]
        self.assertNotEqual(second["MeetingId"], first["MeetingId"])
        self.end(second["MeetingId"])

    def test_what_breaks_a_constraint_is_named(self):
        good = {"ClientRequestToken": token(), "MediaRegion": "us-east-1", "ExternalMeetingId": "visit"}
        for name, value in [
            ("ClientRequestToken", "a b"),
            ("MediaRegion", "x" * 65),
            ("ExternalMeetingId", "aws:visit"),
            ("ExternalMeetingId", "a*b"),
            ("MeetingHostId", "*" * 5),
            ("PrimaryMeetingId", str(uuid.uuid4())),
            ("TenantIds", ["aaaa"]),
            ("MediaPlacementNetworkType", "Ipv5"),
            ("MeetingFeatures", {"Video": {"MaxResolution": "FHD"}}),
            ("MeetingFeatures", {"Attendee": {"MaxCount": 251}}),
            ("NotificationsConfiguration", {"SnsTopicArn": "topic"}),
            ("Tags", [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]),
        ]:
            with self.subTest(name=name, value=value):
                client = boto3.client("chime-sdk-meetings", config=ONCE.merge(Config(parameter_validation=False)))
                answer = self.refused("BadRequestException", client.create_meeting, **{**good, name: value})
                self.assertIn(name, answer["Error"]["Message"])

    def test_members_that_are_required(self):
        loose = boto3.client("chime-sdk-meetings", config=ONCE.merge(Config(parameter_validation=False)))
        self.refused("BadRequestException", loose.create_meeting, ClientRequestToken=token(), MediaRegion="us-east-1")
        self.refused("BadRequestException", loose.get_meeting, MeetingId="x")
        made = self.meeting()
        self.refused("BadRequestException", loose.create_attendee, MeetingId=made["MeetingId"])
        self.refused("BadRequestException", loose.batch_create_attendee, MeetingId=made["MeetingId"], Attendees=[])

    def test_attendees_come_and_go(self):
        meeting = self.meeting()["MeetingId"]
        one = meetings.create_attendee(MeetingId=meeting, ExternalUserId="one")["Attendee"]
        self.assertRegex(one["JoinToken"], r"^[A-Za-z0-9_-]{2,2048}$")
        self.assertEqual(one["Capabilities"], {"Audio": "SendReceive", "Video": "SendReceive", "Content": "SendReceive"})
        self.assertEqual(meetings.create_attendee(MeetingId=meeting, ExternalUserId="one")["Attendee"], one)
        self.assertEqual(meetings.get_attendee(MeetingId=meeting, AttendeeId=one["AttendeeId"])["Attendee"], one)
        meetings.delete_attendee(MeetingId=meeting, AttendeeId=one["AttendeeId"])
        self.refused("NotFoundException", meetings.get_attendee, MeetingId=meeting, AttendeeId=one["AttendeeId"])
        self.refused("NotFoundException", meetings.delete_attendee, MeetingId=meeting, AttendeeId=one["AttendeeId"])
        again = meetings.create_attendee(MeetingId=meeting, ExternalUserId="one")["Attendee"]
        self.assertNotEqual(again["AttendeeId"], one["AttendeeId"])
        self.assertNotEqual(again["JoinToken"], one["JoinToken"])

    def test_a_list_goes_on_page_by_page(self):
        meeting = self.meeting()["MeetingId"]
        wanted = [{"ExternalUserId": f"user {n}"} for n in range(100)]
        made = meetings.batch_create_attendee(MeetingId=meeting, Attendees=wanted)
        self.assertEqual((len(made["Attendees"]), made["Errors"]), (100, []))
        found, more = [], {}
        while True:
            page = meetings.list_attendees(MeetingId=meeting, MaxResults=30, **more)
            found += page["Attendees"]
            if "NextToken" not in page:
                break
            more = {"NextToken": page["NextToken"]}
        self.assertEqual(found, made["Attendees"])
        self.refused("BadRequestException", meetings.list_attendees, MeetingId=meeting, NextToken="a b/c")

    def test_a_meeting_takes_as_many_as_it_says(self):
        made = meetings.create_meeting_with_attendees(
            ClientRequestToken=token(),
            MediaRegion="us-east-1",
            ExternalMeetingId="three for two",
            MeetingFeatures={"Attendee": {"MaxCount": 2}},
            Attendees=[{"ExternalUserId": f"user {n}"} for n in range(3)],
        )
        meeting = made["Meeting"]["MeetingId"]
        self.addCleanup(self.end, meeting)
        self.assertEqual([one["ExternalUserId"] for one in made["Attendees"]], ["user 0", "user 1"])
        self.assertEqual([one["ExternalUserId"] for one in made["Errors"]], ["user 2"])
        self.refused("LimitExceededException", meetings.create_attendee, MeetingId=meeting, ExternalUserId="user 2")

    def test_capabilities_keep_the_rules(self):
        meeting = self.meeting()["MeetingId"]
        listen = {"Audio": "Receive", "Video": "Receive", "Content": "Receive"}
        client = meetings.create_attendee(MeetingId=meeting, ExternalUserId="client", Capabilities=listen)["Attendee"]
        self.assertEqual(client["Capabilities"], listen)
        blind = {"Audio": "SendReceive", "Video": "Send", "Content": "Receive"}
        self.refused(
            "BadRequestException", meetings.create_attendee, MeetingId=meeting, ExternalUserId="blind", Capabilities=blind
        )
        everything = {"Audio": "SendReceive", "Video": "SendReceive", "Content": "SendReceive"}
        changed = meetings.update_attendee_capabilities(
            MeetingId=meeting, AttendeeId=client["AttendeeId"], Capabilities=everything
        )
        self.assertEqual(changed["Attendee"], {**client, "Capabilities": everything})
        other = meetings.create_attendee(MeetingId=meeting, ExternalUserId="other")["Attendee"]
        meetings.batch_update_attendee_capabilities_except(
            MeetingId=meeting, ExcludedAttendeeIds=[{"AttendeeId": client["AttendeeId"]}], Capabilities=listen
        )
        now = {one["AttendeeId"]: one["Capabilities"] for one in meetings.list_attendees(MeetingId=meeting)["Attendees"]}
        self.assertEqual(now, {client["AttendeeId"]: everything, other["AttendeeId"]: listen})

    def test_without_pictures_nobody_has_any(self):
        meeting = self.meeting(MeetingFeatures={"Video": {"MaxResolution": "None"}})["MeetingId"]
        given = meetings.create_attendee(MeetingId=meeting, ExternalUserId="one")["Attendee"]["Capabilities"]
        self.assertEqual(given, {"Audio": "SendReceive", "Video": "Receive", "Content": "SendReceive"})
        self.refused(
            "BadRequestException",
            meetings.create_attendee,
            MeetingId=meeting,
            ExternalUserId="two",
            Capabilities={"Audio": "SendReceive", "Video": "SendReceive", "Content": "SendReceive"},
        )

    def test_after_the_end_nothing_is_found(self):
        meeting = self.meeting()["MeetingId"]
        meetings.delete_meeting(MeetingId=meeting)
        listen = {"Audio": "Receive", "Video": "Receive", "Content": "Receive"}
        for operation, more in [
            (meetings.get_meeting, {}),
            (meetings.delete_meeting, {}),
            (meetings.create_attendee, {"ExternalUserId": "one"}),
            (meetings.batch_create_attendee, {"Attendees": [{"ExternalUserId": "one"}]}),
            (meetings.list_attendees, {}),
            (meetings.update_attendee_capabilities, {"AttendeeId": token(), "Capabilities": listen}),
            (
                meetings.batch_update_attendee_capabilities_except,
                {"ExcludedAttendeeIds": [{"AttendeeId": token()}], "Capabilities": listen},
            ),
            (meetings.stop_meeting_transcription, {}),
        ]:
            with self.subTest(operation=operation.__name__):
                self.refused("NotFoundException", operation, MeetingId=meeting, **more)

    def test_tags(self):
        made = self.meeting(Tags=[{"Key": "a", "Value": "1"}])
        arn = made["MeetingArn"]
        tags = lambda: {tag["Key"]: tag["Value"] for tag in meetings.list_tags_for_resource(ResourceARN=arn)["Tags"]}
        self.assertEqual(tags(), {"a": "1"})
        meetings.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}])
        self.assertEqual(tags(), {"a": "2", "b": ""})
        meetings.untag_resource(ResourceARN=arn, TagKeys=["a"])
        self.assertEqual(tags(), {"b": ""})
        many = [{"Key": f"k{n}", "Value": "v"} for n in range(50)]
        answer = self.refused("TooManyTagsException", meetings.tag_resource, ResourceARN=arn, Tags=many)
        self.assertEqual(answer["ResourceName"], arn)
        other = arn.replace(made["MeetingId"], str(uuid.uuid4()))
        self.refused("ResourceNotFoundException", meetings.list_tags_for_resource, ResourceARN=other)
        foreign = arn.split(":")
        foreign[4] = "123456789012"
        self.refused("ResourceNotFoundException", meetings.list_tags_for_resource, ResourceARN=":".join(foreign))

    def test_transcription_is_refused_in_so_many_words(self):
        meeting = self.meeting()["MeetingId"]
        settings = {"EngineTranscribeSettings": {"LanguageCode": "en-US"}}
        self.refused(
            "UnprocessableEntityException",
            meetings.start_meeting_transcription,
            MeetingId=meeting,
            TranscriptionConfiguration=settings,
        )
        self.refused(
            "BadRequestException", meetings.start_meeting_transcription, MeetingId=meeting, TranscriptionConfiguration={}
        )
        self.refused("UnprocessableEntityException", meetings.stop_meeting_transcription, MeetingId=meeting)


class Credentials(Case):
    def test_who_does_not_sign_is_not_served(self):
        for service, name in [
            ("chime-sdk-meetings", "UnauthorizedException"),
            ("chime-sdk-media-pipelines", "UnauthorizedClientException"),
        ]:
            unsigned = client(service, config=ONCE.merge(Config(signature_version=UNSIGNED)))
            operation = unsigned.get_meeting if service == "chime-sdk-meetings" else unsigned.get_media_pipeline
            parameter = "MeetingId" if service == "chime-sdk-meetings" else "MediaPipelineId"
            self.refused(name, operation, **{parameter: token()})

    def test_who_signs_wrongly_is_told_why(self):
        for more, word in [
            ({"aws_secret_access_key": "wrong", "aws_access_key_id": boto3.Session().get_credentials().access_key}, "signature"),
            ({"aws_secret_access_key": "wrong", "aws_access_key_id": "ANTEAAAAAAAAAAAAAAAA"}, "access key"),
            ({"aws_secret_access_key": "x", "aws_access_key_id": "ANTEAAAAAAAAAAAAAAAA", "aws_session_token": "s"}, "ession token"),
        ]:
            for service in CALLED:
                wrong = client(service, **more)
                operation = wrong.get_meeting if service == "chime-sdk-meetings" else wrong.get_media_pipeline
                parameter = "MeetingId" if service == "chime-sdk-meetings" else "MediaPipelineId"
                answer = self.refused("ForbiddenException", operation, **{parameter: token()})
                self.assertIn(word, answer["Error"]["Message"])


class Pipelines(Case):
    def capture(self, **more):
        made = self.meeting()
        return {
            "SourceType": "ChimeSdkMeeting",
            "SourceArn": made["MeetingArn"],
            "SinkType": "S3Bucket",
            "SinkArn": "arn:aws:s3:::captures/one",
            **more,
        }

    def create(self, **more):
        made = pipelines.create_media_capture_pipeline(**self.capture(**more))
        self.assertEqual(made["ResponseMetadata"]["HTTPStatusCode"], 201)
        made = made["MediaCapturePipeline"]
        self.addCleanup(pipelines.delete_media_pipeline, MediaPipelineId=made["MediaPipelineId"])
        return made

    def status(self, identity):
        (found,) = pipelines.get_media_pipeline(MediaPipelineId=identity)["MediaPipeline"].values()
        return found["Status"]

    def becomes(self, identity, status):
        for _ in range(300):
            if self.status(identity) == status:
                return
            time.sleep(0.1)
        self.fail(f"{identity} is {self.status(identity)} and not {status}")

    def test_a_capture_is_made_shown_and_stopped(self):
        asked = self.capture(
            ClientRequestToken=token(),
            ChimeSdkMeetingConfiguration={
                "SourceConfiguration": {"SelectedVideoStreams": {"ExternalUserIds": ["somebody"]}},
                "ArtifactsConfiguration": {
                    "Audio": {"MuxType": "AudioOnly"},
                    "Video": {"State": "Enabled", "MuxType": "VideoOnly"},
                    "Content": {"State": "Disabled"},
                },
            },
            SinkIamRoleArn="arn:aws:iam::123456789012:role/not-assumed",
            Tags=[{"Key": "a", "Value": "b"}],
        )
        made = pipelines.create_media_capture_pipeline(**asked)["MediaCapturePipeline"]
        identity, arn = made["MediaPipelineId"], made["MediaPipelineArn"]
        self.assertRegex(arn, r"^arn:aws:chime:us-east-1:\d{12}:media-pipeline/" + identity + "$")
        for name in ["SourceType", "SourceArn", "SinkType", "SinkArn", "SinkIamRoleArn", "ChimeSdkMeetingConfiguration"]:
            self.assertEqual(made[name], asked[name], name)
        # Nobody is there yet.
        self.assertEqual(made["Status"], "Initializing")
        self.assertIsInstance(made["CreatedTimestamp"], datetime.datetime)
        self.assertEqual(made["UpdatedTimestamp"], made["CreatedTimestamp"])
        self.assertEqual(pipelines.get_media_capture_pipeline(MediaPipelineId=identity)["MediaCapturePipeline"], made)
        found = pipelines.get_media_pipeline(MediaPipelineId=identity)["MediaPipeline"]
        self.assertEqual(found, {"MediaCapturePipeline": made})

        self.assertEqual(pipelines.create_media_capture_pipeline(**asked)["MediaCapturePipeline"], made)
        other = {**asked, "SinkArn": "arn:aws:s3:::captures/two"}
        self.refused("ConflictException", pipelines.create_media_capture_pipeline, **other)
        second = {**asked, "ClientRequestToken": token()}
        self.refused("ResourceLimitExceededException", pipelines.create_media_capture_pipeline, **second)

        pipelines.delete_media_capture_pipeline(MediaPipelineId=identity)
        self.becomes(identity, "Stopped")
        pipelines.delete_media_capture_pipeline(MediaPipelineId=identity)
        again = pipelines.create_media_capture_pipeline(**second)["MediaCapturePipeline"]
        self.assertNotEqual(again["MediaPipelineId"], identity)
        # It ends with its meeting.
        self.end(made["SourceArn"].rpartition("/")[2])
        self.becomes(again["MediaPipelineId"], "Stopped")

    def test_a_capture_of_the_usual_kind(self):
        made = self.create()
        self.assertNotIn("ChimeSdkMeetingConfiguration", made)
        self.assertNotIn("SseAwsKeyManagementParams", made)

    def test_lists_go_on_where_they_ended(self):
        made = [self.create()["MediaPipelineId"] for _ in range(3)]
        for operation, name in [
            (pipelines.list_media_capture_pipelines, "MediaCapturePipelines"),
            (pipelines.list_media_pipelines, "MediaPipelines"),
        ]:
            seen, parameters = [], {"MaxResults": 2}
            while True:
                page = operation(**parameters)
                self.assertLessEqual(len(page[name]), 2)
                seen += [item["MediaPipelineId"] for item in page[name]]
                if "NextToken" not in page:
                    break
                parameters["NextToken"] = page["NextToken"]
            self.assertEqual([one for one in seen if one in made], made)
            self.assertEqual(len(set(seen)), len(seen))

    def test_a_concatenation_waits_for_its_capture_and_ends_by_itself(self):
        capture = self.create()
        names = ["Audio", "Video", "Content", "DataChannel", "TranscriptionMessages", "MeetingEvents", "CompositedVideo"]
        asked = {
            "Sources": [
                {
                    "Type": "MediaCapturePipeline",
                    "MediaCapturePipelineSourceConfiguration": {
                        "MediaPipelineArn": capture["MediaPipelineArn"],
                        "ChimeSdkMeetingConfiguration": {
                            "ArtifactsConfiguration": {name: {"State": "Enabled"} for name in names}
                        },
                    },
                }
            ],
            "Sinks": [{"Type": "S3Bucket", "S3BucketSinkConfiguration": {"Destination": "arn:aws:s3:::captures/joined"}}],
            "ClientRequestToken": token(),
        }
        made = pipelines.create_media_concatenation_pipeline(**asked)["MediaConcatenationPipeline"]
        self.assertEqual((made["Status"], made["Sources"], made["Sinks"]), ("NotStarted", asked["Sources"], asked["Sinks"]))
        self.assertEqual(pipelines.create_media_concatenation_pipeline(**asked)["MediaConcatenationPipeline"], made)
        found = pipelines.get_media_pipeline(MediaPipelineId=made["MediaPipelineId"])["MediaPipeline"]
        self.assertEqual(found, {"MediaConcatenationPipeline": made})
        self.refused("NotFoundException", pipelines.get_media_capture_pipeline, MediaPipelineId=made["MediaPipelineId"])
        listed = pipelines.list_media_capture_pipelines()["MediaCapturePipelines"]
        self.assertNotIn(made["MediaPipelineId"], [item["MediaPipelineId"] for item in listed])
        pipelines.delete_media_pipeline(MediaPipelineId=capture["MediaPipelineId"])
        self.becomes(made["MediaPipelineId"], "Stopped")
        elsewhere = {**asked, "ClientRequestToken": token()}
        elsewhere["Sinks"][0]["S3BucketSinkConfiguration"]["Destination"] = "arn:aws:s3:::elsewhere"
        self.refused("ForbiddenException", pipelines.create_media_concatenation_pipeline, **elsewhere)

    def test_what_cannot_be_done_is_refused(self):
        by_key = self.capture(SseAwsKeyManagementParams={"AwsKmsKeyId": "alias/key"})
        answer = self.refused("BadRequestException", pipelines.create_media_capture_pipeline, **by_key)
        self.assertIn("SseAwsKeyManagementParams", answer["Error"]["Message"])
        composited = {
            "Audio": {"MuxType": "AudioWithCompositedVideo"},
            "Video": {"State": "Disabled"},
            "Content": {"State": "Disabled"},
        }
        composited = self.capture(ChimeSdkMeetingConfiguration={"ArtifactsConfiguration": composited})
        answer = self.refused("BadRequestException", pipelines.create_media_capture_pipeline, **composited)
        self.assertIn("not supported", answer["Error"]["Message"])

    def test_what_is_not_there(self):
        for operation in [
            pipelines.get_media_capture_pipeline,
            pipelines.delete_media_capture_pipeline,
            pipelines.get_media_pipeline,
            pipelines.delete_media_pipeline,
        ]:
            self.refused("NotFoundException", operation, MediaPipelineId=token())

    def test_a_bucket_must_be_allowed(self):
        elsewhere = self.capture(SinkArn="arn:aws:s3:::elsewhere")
        self.refused("ForbiddenException", pipelines.create_media_capture_pipeline, **elsewhere)

    def test_a_source_must_live(self):
        gone = "arn:aws:chime:us-east-1:000000000000:meeting/" + token()
        self.refused("BadRequestException", pipelines.create_media_capture_pipeline, **self.capture(SourceArn=gone))

    def test_tags_of_pipelines(self):
        arn = self.create(Tags=[{"Key": "a", "Value": "b"}])["MediaPipelineArn"]
        pipelines.tag_resource(ResourceARN=arn, Tags=[{"Key": "c", "Value": "d"}])
        pipelines.untag_resource(ResourceARN=arn, TagKeys=["a"])
        self.assertEqual(pipelines.list_tags_for_resource(ResourceARN=arn)["Tags"], [{"Key": "c", "Value": "d"}])
        arn = self.meeting()["MeetingArn"].replace(":meeting/", ":media-pipeline/")
        self.refused("NotFoundException", pipelines.list_tags_for_resource, ResourceARN=arn)
        self.refused("NotFoundException", pipelines.tag_resource, ResourceARN=arn, Tags=[{"Key": "a", "Value": "b"}])
        self.refused("NotFoundException", pipelines.untag_resource, ResourceARN=arn, TagKeys=["a"])

    def test_every_other_operation_says_that_it_is_not_supported(self):
        """Each with the least that its model allows."""
        model = pipelines.meta.service_model
        done = {
            name
            for name in model.operation_names
            if name.endswith("Resource") or "MediaCapturePipeline" in name or name in PLAIN_OPERATIONS
        }
        loose = client("chime-sdk-media-pipelines", config=ONCE.merge(Config(parameter_validation=False)))
        for name in sorted(set(model.operation_names) - done):
            with self.subTest(operation=name):
                shape = model.operation_model(name).input_shape
                parameters = {member: least(shape.members[member]) for member in shape.required_members}
                operation = getattr(loose, botocore.xform_name(name))
                answer = self.refused("BadRequestException", operation, **parameters)
                if name != "CreateMediaConcatenationPipeline":
                    self.assertIn("not supported", answer["Error"]["Message"])


PLAIN_OPERATIONS = {"GetMediaPipeline", "DeleteMediaPipeline", "ListMediaPipelines"}


def least(shape):
    """The smallest value of a shape."""
    if shape.type_name == "structure":
        return {name: least(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "list":
        return [least(shape.member)] * shape.metadata.get("min", 1)
    if shape.type_name == "string":
        enum = getattr(shape, "enum", None)
        return enum[0] if enum else str(uuid.UUID(int=1))
    return {"integer": 1, "long": 1, "float": 1.0, "boolean": True}.get(shape.type_name, {})


class Everything(unittest.TestCase):
    """Runs last, by its name in `load_tests`."""

    def test_each_operation_was_called_and_each_exception_seen(self):
        session = botocore.session.get_session()
        for service in CALLED:
            model = session.get_service_model(service)
            self.assertEqual(set(model.operation_names) - CALLED[service], set(), service)
            exceptions = {shape.name for shape in model.error_shapes}
            self.assertEqual(exceptions - SEEN[service] - NOT_PROVOKED[service], set(), service)

    def test_the_documentation_names_each_operation(self):
        document = pathlib.Path(__file__).resolve().parents[2] / "docs" / "moving-from-chime.md"
        words = set(re.findall(r"\w+", document.read_text(encoding="utf-8")))
        for service in CALLED:
            names = set(botocore.session.get_session().get_service_model(service).operation_names)
            self.assertEqual(names - words, set(), service)


def load_tests(loader, _tests, _pattern):
    suite = unittest.TestSuite()
    for case in [Meetings, Credentials, Pipelines, Everything]:
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


if __name__ == "__main__":
    unittest.main(verbosity=2)
