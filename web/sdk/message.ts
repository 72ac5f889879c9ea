// The WebSocket messages of docs/protocol.md, section 4, as types, and the one place that parses them.

export type Role = 'clinician' | 'patient' | 'guest' | 'observer';
export type Door = 'waiting' | 'admitted';
export type Source = 'microphone' | 'camera' | 'screen' | 'screen_sound';
/** How a receiver shows what a slot carries. */
export type View = 'hidden' | 'thumbnail' | 'full' | 'pinned';
/** What a sender should make of a picture: nothing, one encoding, or all layers. */
export type Encoding = 'asleep' | 'single' | 'layers';
export type ConsentState = 'PENDING' | 'SIGNED' | 'DECLINED' | 'REVOKED' | 'EXPIRED';
export type RecordingSign = 'off' | 'starting' | 'on' | 'stopping';
export type EndReason = 'completed' | 'denied' | 'removed' | 'superseded' | 'revoked' | 'failed' | 'left' | 'timed_out';

export interface Practice {
  name: string;
  phone: string;
}

export interface You {
  participantId: string;
  role: Role;
  name: string;
  door: Door;
}

export interface VisitInfo {
  visitId: string;
  scheduledAt: string;
  clinicianName: string;
  practice: Practice;
  recordingPolicy: string;
}

export interface WaitingEntry {
  participantId: string;
  name: string;
  role: Role;
  since: string;
  camera: boolean | null;
  microphone: boolean | null;
}

export interface RosterEntry {
  participantId: string;
  role: Role;
  name: string;
  connected: boolean;
  microphone: boolean;
  camera: boolean;
  /** They hold their picture back for the sake of sound. */
  cameraHeld: boolean;
  mutedByClinician: Source[];
  consent: ConsentState;
}

/** What a client may send, without the `id` that the socket adds to requests. */
export type ClientMessage =
  | { type: 'hello'; protocol: 1; resume?: { token: string; seq: number }; proof?: string }
  | { type: 'offer'; sdp: string }
  | { type: 'device_check'; camera: boolean; microphone: boolean }
  | { type: 'admit' | 'deny' | 'send_back' | 'remove'; participantId: string }
  | { type: 'state'; microphone: boolean; camera: boolean; cameraHeld?: true }
  | { type: 'view'; mid: string; view: View }
  | { type: 'mute'; participantId: string; source: Source; muted: boolean }
  | { type: 'request_consent' | 'recording_start' | 'recording_stop' | 'ping' }
  | { type: 'consent'; version: number; decision: 'SIGN' | 'DECLINE' | 'REVOKE' }
  | { type: 'stats'; rttMs?: number; lossDown?: number; framesDecoded?: number; freezes?: number }
  | { type: 'leave' };

/** What the server sends. `seq` grows by one from message to message of a session. */
export type ServerMessage = { seq: number } & (
  | { type: 'challenge'; nonce: string }
  | {
      type: 'welcome';
      you: You;
      visit: VisitInfo;
      resumeToken: string;
      serverTime: string;
      iceServers: RTCIceServer[];
    }
  | { type: 'waiting'; since: string; position: number; serverTime: string }
  | { type: 'waiting_list'; entries: WaitingEntry[]; serverTime: string }
  | { type: 'admitted' }
  | { type: 'sent_back' }
  | { type: 'answer'; id: string; sdp: string }
  | { type: 'slot'; mid: string; carries: { participantId: string; source: Source } | null }
  | { type: 'slots_wanted'; audio: number; video: number }
  | { type: 'roster'; participants: RosterEntry[] }
  | { type: 'consent_request'; version: number; locale: string; body: string; requestedBy: string }
  | { type: 'recording'; state: RecordingSign; recordingId?: string; since?: string }
  | { type: 'recording_stored'; recordingId: string; status: string }
  | { type: 'speaking'; participantId: string | null }
  | { type: 'quality'; participantId: string; bars: number; rttMs?: number; lossUp: number; lossDown: number }
  | { type: 'encode'; source: Source; encoding: Encoding }
  | { type: 'paused'; mid: string; paused: boolean }
  | { type: 'audio_budget'; bitrate: number; ptimeMs: number }
  | { type: 'ice_servers'; iceServers: RTCIceServer[] }
  | { type: 'restart_ice' }
  | { type: 'draining'; deadline: string }
  | { type: 'ok'; id: string }
  | { type: 'error'; id?: string; code: string; detail: string; missing?: string[]; retryAfterSeconds?: number }
  | { type: 'pong'; id: string; serverTime: string }
  | { type: 'ended'; reason: EndReason }
);

export type ServerMessageType = ServerMessage['type'];

const KNOWN: ReadonlySet<string> = new Set<ServerMessageType>([
  'challenge', 'welcome', 'waiting', 'waiting_list', 'admitted', 'sent_back', 'answer', 'slot', 'slots_wanted', 'roster',
  'consent_request', 'recording', 'recording_stored', 'speaking', 'quality', 'encode', 'paused', 'audio_budget',
  'restart_ice', 'ice_servers', 'draining', 'ok', 'error', 'pong', 'ended',
]);

/** A frame of the server as a message; `unknown` for a type of a later version, which section 0 tells clients to ignore. */
export function parseServerMessage(text: string): ServerMessage | { type: 'unknown'; seq: number } {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new TypeError('a message is a JSON object');
  const { type, seq } = value as { type?: unknown; seq?: unknown };
  if (typeof type !== 'string' || typeof seq !== 'number') throw new TypeError('a message has a type and a seq');
  return KNOWN.has(type) ? (value as ServerMessage) : { type: 'unknown', seq };
}
