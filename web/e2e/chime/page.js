// A page as an application of Chime's customers would have it: the npm client as it comes, a tone for a voice and a colour for a face.

import {
  ConsoleLogger, DefaultDeviceController, DefaultMeetingSession, LogLevel, MeetingSessionConfiguration, MeetingSessionStatusCode,
  VideoPriorityBasedPolicy,
} from 'amazon-chime-sdk-js';

/** Everything that a spec asks about. */
const seen = { events: [], roster: {}, volumes: {}, tiles: {}, messages: [], connects: 0, sockets: [] };
let session;
let context;

// The sockets of the client, so that a spec can cut one as a network would.
const NativeSocket = window.WebSocket;
window.WebSocket = class extends NativeSocket {
  constructor(...args) {
    super(...args);
    seen.sockets.push(this);
  }
};

function tone(frequency) {
  context ??= new AudioContext();
  const oscillator = context.createOscillator();
  const gain = context.createGain();
  const out = context.createMediaStreamDestination();
  oscillator.frequency.value = frequency;
  gain.gain.value = 0.4;
  oscillator.connect(gain).connect(out);
  oscillator.start();
  return out.stream;
}

function picture(colour, [width, height] = [640, 360]) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  const paint = canvas.getContext('2d');
  let frame = 0;
  setInterval(() => {
    paint.fillStyle = `rgb(${colour.join(',')})`;
    paint.fillRect(0, 0, width, height);
    paint.fillStyle = frame % 2 ? 'white' : 'black';
    paint.fillRect(8 + (frame++ % 40), 8, 40, 40);
  }, 50);
  return canvas.captureStream(20);
}

function place(tile) {
  const id = `tile-${tile.tileId}`;
  let video = document.getElementById(id);
  if (!video) {
    video = Object.assign(document.createElement('video'), { id, muted: true, autoplay: true, playsInline: true, width: 320 });
    document.getElementById('tiles').append(video);
    session.audioVideo.bindVideoElement(tile.tileId, video);
  }
}

window.chime = {
  seen,

  async join({ meeting, attendee, hertz, colour, priority = false }) {
    const logger = new ConsoleLogger('chime', LogLevel.WARN);
    const devices = new DefaultDeviceController(logger);
    const configuration = new MeetingSessionConfiguration(meeting, attendee);
    if (priority) configuration.videoDownlinkBandwidthPolicy = new VideoPriorityBasedPolicy(logger);
    session = new DefaultMeetingSession(configuration, logger, devices);
    const av = session.audioVideo;
    window.chime.colour = colour;
    av.addObserver({
      audioVideoDidStart: () => seen.events.push('start'),
      audioVideoDidStartConnecting: (again) => {
        seen.connects += 1;
        seen.events.push(again ? 'reconnecting' : 'connecting');
      },
      audioVideoDidStop: (status) => seen.events.push(`stop ${MeetingSessionStatusCode[status.statusCode()]}`),
      videoTileDidUpdate: (tile) => {
        if (!tile.boundAttendeeId || tile.localTile) return;
        seen.tiles[tile.boundAttendeeId] = tile.tileId;
        place(tile);
      },
      videoTileWasRemoved: (id) => {
        for (const [who, tile] of Object.entries(seen.tiles)) if (tile === id) delete seen.tiles[who];
        document.getElementById(`tile-${id}`)?.remove();
      },
      videoAvailabilityDidChange: (availability) => {
        seen.canStart = availability.canStartLocalVideo;
      },
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
    await av.startAudioInput(tone(hertz));
    await av.bindAudioElement(document.getElementById('sound'));
    av.start();
  },

  async camera(on) {
    if (on) {
      await session.audioVideo.startVideoInput(picture(window.chime.colour));
      session.audioVideo.startLocalVideoTile();
    } else {
      session.audioVideo.stopLocalVideoTile();
      await session.audioVideo.stopVideoInput();
    }
  },

  mute: (on) => (on ? session.audioVideo.realtimeMuteLocalAudio() : session.audioVideo.realtimeUnmuteLocalAudio()),
  say: (text, lifetime) => session.audioVideo.realtimeSendDataMessage('chat', text, lifetime),
  share: (colour) => session.audioVideo.startContentShare(picture(colour, [960, 540])),
  unshare: () => session.audioVideo.stopContentShare(),
  leave: () => session.audioVideo.stop(),
  /** Ends the signalling socket as a broken network does. */
  cut: () => seen.sockets.forEach((socket) => socket.dispatchEvent(new CloseEvent('close', { code: 1006 })) || socket.close()),

  /** Which of these tones are in what is heard: each in decibels. */
  async hears(tones, forMs = 1500) {
    const stream = document.getElementById('sound').srcObject;
    const own = new AudioContext();
    await own.resume();
    const analyser = own.createAnalyser();
    analyser.fftSize = 16384;
    analyser.smoothingTimeConstant = 0;
    own.createMediaStreamSource(stream).connect(analyser);
    await new Promise((resolve) => setTimeout(resolve, forMs));
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    const at = (hertz) => {
      const middle = Math.round((hertz * analyser.fftSize) / own.sampleRate);
      return Math.max(...bins.subarray(middle - 3, middle + 4));
    };
    const found = Object.fromEntries(tones.map((hertz) => [hertz, Math.round(at(hertz))]));
    await own.close();
    return found;
  },

  /** Mean colour of the middle of somebody's picture; nothing without one. */
  sees(attendee) {
    const video = document.getElementById(`tile-${seen.tiles[attendee]}`);
    if (!video?.videoWidth) return null;
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1;
    const paint = canvas.getContext('2d');
    const { videoWidth: w, videoHeight: h } = video;
    paint.drawImage(video, w / 3, h / 3, w / 3, h / 3, 0, 0, 1, 1);
    return Array.from(paint.getImageData(0, 0, 1, 1).data).slice(0, 3);
  },
};
document.title = 'ready';
