// The JavaScript clients against a running server: a telehealth backend's way through a visit, every operation of the meetings, and
// the exceptions as classes.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, test } from 'node:test';
import * as pipelinesSdk from '@aws-sdk/client-chime-sdk-media-pipelines';
import * as sdk from '@aws-sdk/client-chime-sdk-meetings';

// The address comes from the environment, as in an application that was moved.
const client = new sdk.ChimeSDKMeetingsClient({ maxAttempts: 1 });
const pipelines = new pipelinesSdk.ChimeSDKMediaPipelinesClient({ maxAttempts: 1 });
after(() => [client, pipelines].forEach((each) => each.destroy()));

const called = new Set();
const send = (name, input) => {
  called.add(name);
  return client.send(new sdk[`${name}Command`](input));
};

/** Sends, and gives the exception, which must be of the class. */
async function refused(exception, name, input, module = sdk, by = client) {
  const sent = by.send(new module[`${name}Command`](input));
  called.add(name);
  const error = await sent.then(
    () => assert.fail(`${name} was not refused`),
    (error) => error,
  );
  assert.ok(error instanceof module[exception], `${name}: ${error.name} instead of ${exception}: ${error.message}`);
  assert.equal(error.name, exception);
  assert.ok(error.message && error.Code && error.RequestId, JSON.stringify(error));
  return error;
}

const newMeeting = async (more = {}) => {
  const input = { ClientRequestToken: randomUUID(), MediaRegion: 'us-east-1', ExternalMeetingId: 'visit', ...more };
  return (await send('CreateMeeting', input)).Meeting;
};

/** As a telehealth backend has it. */
class ChimeService {
  async createMeeting(appointment) {
    const meeting = await send('CreateMeeting', {
      ClientRequestToken: appointment,
      MediaRegion: 'us-east-1',
      ExternalMeetingId: appointment,
      MeetingFeatures: { Audio: { EchoReduction: 'AVAILABLE' } },
    });
    return meeting.Meeting;
  }
  async createAttendee(meeting, user, role) {
    const attendee = await send('CreateAttendee', {
      MeetingId: meeting,
      ExternalUserId: user,
      Capabilities: {
        Audio: 'SendReceive',
        Video: 'SendReceive',
        Content: role === 'clinician' ? 'SendReceive' : 'Receive',
      },
    });
    return attendee.Attendee;
  }
  async endMeeting(meeting) {
    await send('DeleteMeeting', { MeetingId: meeting });
  }
}

test('a telehealth backend holds a visit, and then another for the same appointment', async () => {
  const service = new ChimeService();
  const appointment = randomUUID();
  const meeting = await service.createMeeting(appointment);
  assert.equal((await service.createMeeting(appointment)).MeetingId, meeting.MeetingId);
  assert.match(meeting.MediaPlacement.SignalingUrl, /^wss?:\/\/[^?]+\/control\//);
  assert.equal(meeting.MeetingFeatures.Audio.EchoReduction, 'AVAILABLE');
  const clinician = await service.createAttendee(meeting.MeetingId, randomUUID(), 'clinician');
  const patient = await service.createAttendee(meeting.MeetingId, randomUUID(), 'client');
  assert.equal(clinician.Capabilities.Content, 'SendReceive');
  assert.equal(patient.Capabilities.Content, 'Receive');
  assert.notEqual(clinician.JoinToken, patient.JoinToken);
  await service.endMeeting(meeting.MeetingId);
  await refused('NotFoundException', 'GetMeeting', { MeetingId: meeting.MeetingId });
  const next = await service.createMeeting(appointment);
  assert.notEqual(next.MeetingId, meeting.MeetingId);
  await service.endMeeting(next.MeetingId);
});

/** As the same backend records: the account number is its own. */
async function startMediaCapturePipeline(meetingId, s3BucketName, s3KeyPrefix) {
  const command = new pipelinesSdk.CreateMediaCapturePipelineCommand({
    SourceType: 'ChimeSdkMeeting',
    SourceArn: `arn:aws:chime:us-east-1:123456789012:meeting/${meetingId}`,
    SinkType: 'S3Bucket',
    SinkArn: `arn:aws:s3:::${s3BucketName}/${s3KeyPrefix}`,
    ChimeSdkMeetingConfiguration: {
      ArtifactsConfiguration: {
        Audio: { MuxType: 'AudioOnly' },
        Video: { State: 'Enabled', MuxType: 'VideoOnly' },
        Content: { State: 'Enabled', MuxType: 'ContentOnly' },
      },
    },
  });
  return (await pipelines.send(command)).MediaCapturePipeline;
}

test('a backend starts and stops a capture', async () => {
  const meeting = await newMeeting();
  const capture = await startMediaCapturePipeline(meeting.MeetingId, 'captures', 'session-1');
  assert.equal(capture.Status, 'Initializing');
  assert.ok(capture.CreatedTimestamp instanceof Date);
  const { MediaPipelineId } = capture;
  const found = await pipelines.send(new pipelinesSdk.GetMediaCapturePipelineCommand({ MediaPipelineId }));
  assert.equal(found.MediaCapturePipeline.SinkArn, 'arn:aws:s3:::captures/session-1');
  const ids = [];
  for await (const page of pipelinesSdk.paginateListMediaCapturePipelines({ client: pipelines, pageSize: 1 }, {})) {
    ids.push(...page.MediaCapturePipelines.map((item) => item.MediaPipelineId));
  }
  assert.ok(ids.includes(MediaPipelineId));
  await pipelines.send(new pipelinesSdk.DeleteMediaCapturePipelineCommand({ MediaPipelineId }));
  const by = [pipelinesSdk, pipelines];
  const input = { SourceType: 'ChimeSdkMeeting', SourceArn: meeting.MeetingArn, SinkType: 'S3Bucket' };
  await refused('ForbiddenException', 'CreateMediaCapturePipeline', { ...input, SinkArn: 'arn:aws:s3:::other' }, ...by);
  await refused('NotFoundException', 'DeleteMediaCapturePipeline', { MediaPipelineId: randomUUID() }, ...by);
  await refused('BadRequestException', 'CreateMediaStreamPipeline', { Sources: [], Sinks: [] }, ...by);
  await send('DeleteMeeting', { MeetingId: meeting.MeetingId });
});

test('attendees, one by one and together', async () => {
  const made = await send('CreateMeetingWithAttendees', {
    ClientRequestToken: randomUUID(),
    MediaRegion: 'us-east-1',
    ExternalMeetingId: 'group',
    Attendees: [{ ExternalUserId: 'one' }, { ExternalUserId: 'two' }],
  });
  const MeetingId = made.Meeting.MeetingId;
  assert.equal(made.Attendees.length, 2);
  const batch = Array.from({ length: 30 }, (_, n) => ({ ExternalUserId: `user ${n}` }));
  assert.equal((await send('BatchCreateAttendee', { MeetingId, Attendees: batch })).Attendees.length, 30);
  const users = [];
  called.add('ListAttendees');
  for await (const page of sdk.paginateListAttendees({ client, pageSize: 7 }, { MeetingId })) {
    assert.ok(page.Attendees.length <= 7);
    users.push(...page.Attendees.map((attendee) => attendee.ExternalUserId));
  }
  assert.deepEqual(users, ['one', 'two', ...batch.map((item) => item.ExternalUserId)]);

  const { AttendeeId } = made.Attendees[0];
  const listen = { Audio: 'Receive', Video: 'Receive', Content: 'None' };
  const changed = await send('UpdateAttendeeCapabilities', { MeetingId, AttendeeId, Capabilities: listen });
  assert.deepEqual(changed.Attendee.Capabilities, listen);
  await send('BatchUpdateAttendeeCapabilitiesExcept', {
    MeetingId,
    ExcludedAttendeeIds: [{ AttendeeId: made.Attendees[1].AttendeeId }],
    Capabilities: listen,
  });
  const second = await send('GetAttendee', { MeetingId, AttendeeId: made.Attendees[1].AttendeeId });
  assert.equal(second.Attendee.Capabilities.Content, 'SendReceive');
  await send('DeleteAttendee', { MeetingId, AttendeeId });
  await refused('NotFoundException', 'GetAttendee', { MeetingId, AttendeeId });
  await send('DeleteMeeting', { MeetingId });
});

test('tags, with every character that a query has to carry', async () => {
  const meeting = await newMeeting();
  const ResourceARN = meeting.MeetingArn;
  const Tags = [{ Key: "it's a key+/~*()", Value: 'ä €' }];
  await send('TagResource', { ResourceARN, Tags });
  assert.deepEqual((await send('ListTagsForResource', { ResourceARN })).Tags, Tags);
  await send('UntagResource', { ResourceARN, TagKeys: [Tags[0].Key] });
  assert.deepEqual((await send('ListTagsForResource', { ResourceARN })).Tags, []);
  await send('DeleteMeeting', { MeetingId: meeting.MeetingId });
});

test('exceptions are classes of the client', async () => {
  const meeting = await newMeeting({ MeetingFeatures: { Attendee: { MaxCount: 1 } } });
  const { MeetingId, MeetingArn } = meeting;
  await send('CreateAttendee', { MeetingId, ExternalUserId: 'one' });
  await refused('LimitExceededException', 'CreateAttendee', { MeetingId, ExternalUserId: 'two' });
  await refused('BadRequestException', 'CreateAttendee', { MeetingId, ExternalUserId: 'x' });
  const token = randomUUID();
  const twice = { ClientRequestToken: token, MediaRegion: 'us-east-1', ExternalMeetingId: 'first' };
  const first = await send('CreateMeeting', twice);
  await refused('ConflictException', 'CreateMeeting', { ...twice, ExternalMeetingId: 'second' });
  await refused('ResourceNotFoundException', 'ListTagsForResource', { ResourceARN: MeetingArn.replace(MeetingId, token) });
  const settings = { EngineTranscribeSettings: { LanguageCode: 'en-US' } };
  await refused('UnprocessableEntityException', 'StartMeetingTranscription', { MeetingId, TranscriptionConfiguration: settings });
  await refused('UnprocessableEntityException', 'StopMeetingTranscription', { MeetingId });
  const stranger = new sdk.ChimeSDKMeetingsClient({
    maxAttempts: 1,
    credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: 'wrong' },
  });
  await refused('ForbiddenException', 'GetMeeting', { MeetingId }, sdk, stranger);
  stranger.destroy();
  await send('DeleteMeeting', { MeetingId });
  await send('DeleteMeeting', { MeetingId: first.Meeting.MeetingId });
});

test('each operation of the meetings was called', () => {
  const all = Object.keys(sdk).flatMap((name) => name.match(/^([A-Z]\w+)Command$/)?.[1] ?? []);
  assert.deepEqual(all.filter((name) => !called.has(name)), []);
});
