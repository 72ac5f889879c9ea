// A page as an application of Chime's customers would have it: the npm client as it comes, a tone for a voice and a colour for a face.

import {
  ConsoleLogger, DefaultDeviceController, DefaultMeetingSession, LogLevel, MeetingSessionConfiguration, MeetingSessionStatusCode,
  TargetDisplaySize, VideoCodecCapability, VideoPreference, VideoPreferences, VideoPriorityBasedPolicy,
} from 'amazon-chime-sdk-js';
import { colourOf, soundOf, tone, picture } from './media.js';

/** Everything that a spec asks about. */
const seen = { events: [], roster: {}, volumes: {}, tiles: {}, paused: [], messages: [], connects: 0 };
let session;
let policy;
let face;

function place(tile) {
  const id = `tile-${tile.tileId}`;
  let video = document.getElementById(id);
  if (!video) {
    video = Object.assign(document.createElement('video'), { id, muted: true, autoplay: true, playsInline: true, width: 320 });
    document.getElementById('tiles').append(video);
    session.audioVideo.bindVideoElement(tile.tileId, video);
  }
}

const tileOf = (attendee) => document.getElementById(`tile-${seen.tiles[attendee]}`);

window.chime = {
  seen,

  /** Joins and answers how long it took: from `start()` to `audioVideoDidStart`, in milliseconds. */
  async join({ meeting, attendee, hertz, colour, size, lively = false, priority = false, simulcast = false, svc = false, codec, device = false, level = 'WARN' }) {
    const logger = new ConsoleLogger('chime', LogLevel[level]);
    const devices = new DefaultDeviceController(logger);
    const configuration = new MeetingSessionConfiguration(meeting, attendee);
    configuration.enableSimulcastForUnifiedPlanChromiumBasedBrowsers = simulcast;
    configuration.enableSVC = svc;
    if (priority) {
      policy = new VideoPriorityBasedPolicy(logger);
      configuration.videoDownlinkBandwidthPolicy = policy;
    }
    session = new DefaultMeetingSession(configuration, logger, devices);
    const av = session.audioVideo;
    face = { colour, size, lively };
    const started = Promise.withResolvers();
    av.addObserver({
      audioVideoDidStart: () => {
        seen.events.push('start');
        started.resolve(performance.now());
      },
      audioVideoDidStartConnecting: (again) => {
        seen.connects += 1;
        seen.events.push(again ? 'reconnecting' : 'connecting');
      },
      audioVideoDidStop: (status) => {
        seen.events.push(`stop ${MeetingSessionStatusCode[status.statusCode()]}`);
        started.reject(new Error(MeetingSessionStatusCode[status.statusCode()]));
      },
      videoTileDidUpdate: (tile) => {
        if (!tile.boundAttendeeId || tile.localTile) return;
        seen.tiles[tile.boundAttendeeId] = tile.tileId;
        seen.paused = seen.paused.filter((who) => who !== tile.boundAttendeeId).concat(tile.paused ? tile.boundAttendeeId : []);
        place(tile);
      },
      videoTileWasRemoved: (id) => {
        for (const [who, tile] of Object.entries(seen.tiles)) if (tile === id) delete seen.tiles[who];
        document.getElementById(`tile-${id}`)?.remove();
      },
      videoAvailabilityDidChange: (availability) => {
        seen.canStart = availability.canStartLocalVideo;
      },
      encodingSimulcastLayersDidChange: (layers) => {
        seen.layers = layers;
      },
    });
    av.addContentShareObserver({
      contentShareDidStart: () => seen.events.push('share starts'),
      contentShareDidStop: () => seen.events.push('share stops'),
    });
    av.realtimeSubscribeToAttendeeIdPresence((id, present, external, dropped) => {
      if (present) seen.roster[id] = { external };
      else {
        delete seen.roster[id];
        seen.events.push(`${dropped ? 'dropped' : 'left'} ${external ?? ''}`.trim());
        return;
      }
      av.realtimeSubscribeToVolumeIndicator(id, (_, volume, muted, strength) => {
        const known = (seen.volumes[id] ??= { volume: 0, muted: false, strength: 1 });
        if (volume !== null) known.volume = volume;
        if (muted !== null) known.muted = muted;
        if (strength !== null) known.strength = strength;
      });
    });
    av.realtimeSubscribeToReceiveDataMessage('chat', (message) => {
      seen.messages.push({ text: message.text(), from: message.senderExternalUserId, throttled: message.throttled });
    });
    if (codec) av.setVideoCodecSendPreferences([VideoCodecCapability[codec]()]);
    await av.startAudioInput(device ? await navigator.mediaDevices.getUserMedia({ audio: true }) : tone(hertz));
    await av.bindAudioElement(document.getElementById('sound'));
    const from = performance.now();
    av.start();
    return (await started.promise) - from;
  },

  async camera(on) {
    if (on) {
      await session.audioVideo.startVideoInput(picture(face.colour, face.size, face.lively));
      session.audioVideo.startLocalVideoTile();
    } else {
      session.audioVideo.stopLocalVideoTile();
      await session.audioVideo.stopVideoInput();
    }
  },

  mute: (on) => (on ? session.audioVideo.realtimeMuteLocalAudio() : session.audioVideo.realtimeUnmuteLocalAudio()),
  say: (text, lifetime) => session.audioVideo.realtimeSendDataMessage('chat', text, lifetime),
  share: (colour, hertz) => {
    const stream = picture(colour, [960, 540]);
    if (hertz) stream.addTrack(tone(hertz).getAudioTracks()[0]);
    return session.audioVideo.startContentShare(stream);
  },
  unshare: () => session.audioVideo.stopContentShare(),
  leave: () => session.audioVideo.stop(),
  pause: (attendee) => session.audioVideo.pauseVideoTile(seen.tiles[attendee]),
  unpause: (attendee) => session.audioVideo.unpauseVideoTile(seen.tiles[attendee]),

  /** Says how much of whom is wanted: `[attendee, priority, 'Low' | 'Medium' | 'High']` each. */
  prefer: (list) => {
    const preferences = VideoPreferences.prepare();
    for (const [attendee, rank, size] of list) preferences.add(new VideoPreference(attendee, rank, TargetDisplaySize[size]));
    policy.chooseRemoteVideoSources(preferences.build());
  },

  hears: (tones, forMs) => soundOf(document.getElementById('sound').srcObject, tones, forMs),

  /** Mean colour of the middle of somebody's picture; nothing without one. */
  sees: (attendee) => colourOf(tileOf(attendee)),

  /** How wide somebody's picture is, how many frames of it were shown, and how many bytes of it came so far. */
  async view(attendee) {
    const video = tileOf(attendee);
    const track = video?.srcObject?.getVideoTracks()[0]?.id;
    const [stream] = (await window.chime.stat('inbound-rtp')).filter((stat) => stat.trackIdentifier === track);
    const frames = video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
    return { width: video?.videoWidth ?? 0, frames, bytes: stream?.bytesReceived ?? 0, at: performance.now() };
  },

  /** The statistics of one kind, as they are. */
  async stat(type) {
    const report = await session.audioVideo.getRTCPeerConnectionStats();
    return [...(report?.values() ?? [])].filter((stat) => stat.type === type);
  },

  /** What this page sends and receives, as its connection counts it. */
  async flows() {
    const report = await session.audioVideo.getRTCPeerConnectionStats();
    const flows = { sent: [], received: [], packets: 0, energy: 0 };
    for (const stat of report?.values() ?? []) {
      if (!['outbound-rtp', 'inbound-rtp'].includes(stat.type)) continue;
      const one = {
        kind: stat.kind, codec: report.get(stat.codecId)?.mimeType, width: stat.frameWidth, mode: stat.scalabilityMode, rid: stat.rid,
        active: stat.active, frames: stat.framesDecoded ?? stat.framesEncoded, bytes: stat.bytesSent ?? stat.bytesReceived,
        packets: stat.packetsSent ?? stat.packetsReceived, lost: stat.packetsLost,
      };
      if (stat.type === 'outbound-rtp') flows.sent.push(one);
      else {
        flows.received.push(one);
        flows.packets += stat.packetsReceived ?? 0;
        flows.energy += stat.totalAudioEnergy ?? 0;
      }
    }
    return flows;
  },
};
document.title = 'ready';
