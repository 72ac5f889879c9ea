// What the server asks of our encoders: how much the voice may cost, and which pictures are worth making.

import type { Encoding } from './message';
import { inOwnSound } from './redundancy';
import type { Amount } from './uplink';

export interface AudioBudget {
  /** Bits per second. */
  bitrate: number;
  /** Milliseconds of sound in one packet. */
  ptimeMs: number;
}

/** What Opus encoders of browsers can be set to. */
const PTIMES = [10, 20, 40, 60, 120];
const MIN_VOICE = 6_000;
const MAX_VOICE = 510_000;

/** What browsers give a voice by themselves, and what remains good to understand where there is little room. */
export const USUAL_VOICE = 32_000;
export const NARROW_VOICE = 16_000;
/** The same of packet times: headers cost 27 kbit/s at 20 ms, and 9 at 60. */
export const USUAL_PTIME_MS = 20;
export const NARROW_PTIME_MS = 60;
/** Enough to find out whether the way is wide, and no more. */
const LITTLE_PICTURE = { maxBitrate: 110_000, scaleResolutionDownBy: 4 };

/**
 * The camera in three sizes, smallest first as the server reads them. All are offered from the start, because no browser
 * adds an encoding to a sender later; those that are not active take neither work nor bandwidth. A visit begins with two
 * people, so the best one alone is active until the server asks for all.
 */
export function cameraLayers(): RTCRtpEncodingParameters[] {
  return [
    { rid: 'q', active: false, scaleResolutionDownBy: 4, maxBitrate: 150_000 },
    { rid: 'h', active: false, scaleResolutionDownBy: 2, maxBitrate: 500_000 },
    { rid: 'f', active: true, scaleResolutionDownBy: 1, maxBitrate: 1_500_000 },
  ];
}

/** A budget inside what an encoder can do, whatever the server said. */
export function boundedBudget({ bitrate, ptimeMs }: AudioBudget): AudioBudget {
  const wanted = Number.isFinite(bitrate) ? bitrate : MAX_VOICE;
  return {
    bitrate: Math.round(Math.min(MAX_VOICE, Math.max(MIN_VOICE, wanted))),
    ptimeMs: PTIMES.find((one) => one >= ptimeMs) ?? 20,
  };
}

/**
 * The answer with the packet time in its first audio section, the one we send on. Browsers take the packet time of what
 * they send from the description of the other side, and from nowhere else.
 */
export function withPtime(answer: string, ptimeMs: number): string {
  return inOwnSound(answer, (own) => {
    const section = own.replace(/^a=ptime:.*\r?\n/gm, '');
    const end = section === '' || section.endsWith('\n') ? '' : '\r\n';
    return `${section}${end}a=ptime:${ptimeMs}\r\n`;
  });
}

/** Answers whether the browser took it; while a negotiation runs it may refuse, and the next answer brings it again. */
export async function limitVoice(sender: RTCRtpSender, bitrate: number): Promise<boolean> {
  return change(sender, (encoding) => {
    encoding.maxBitrate = bitrate;
  });
}

/**
 * Which sizes of a picture are made: none, the best alone, or all. The last encoding is the best one. Where the way out is narrow
 * there is none, or a small one of the best, so that its keyframe does not take the way for seconds.
 */
export async function setEncoding(sender: RTCRtpSender, wanted: Encoding, amount: Amount = 'all'): Promise<boolean> {
  const layers = cameraLayers();
  return change(sender, (encoding, isBest) => {
    const layer = layers.find((one) => one.rid === encoding.rid);
    encoding.active = wanted !== 'asleep' && amount !== 'none' && (isBest || (wanted === 'layers' && amount === 'all'));
    if (!isBest || !layer) return;
    const little = amount === 'little' && wanted !== 'asleep';
    encoding.maxBitrate = little ? LITTLE_PICTURE.maxBitrate : layer.maxBitrate;
    encoding.scaleResolutionDownBy = little ? LITTLE_PICTURE.scaleResolutionDownBy : layer.scaleResolutionDownBy;
  });
}

/**
 * Has the browser forget why it makes a picture smaller than it was asked for: what it knows of the way decides anew. A wish to
 * keep the size does so, and is taken back at once, for on a way that gets narrow a small picture is better than a slow one.
 */
export async function forgetLimits(sender: RTCRtpSender): Promise<boolean> {
  const usual = sender.getParameters().degradationPreference;
  const kept = await change(sender, () => undefined, 'maintain-resolution');
  return (await change(sender, () => undefined, usual)) && kept;
}

async function change(
  sender: RTCRtpSender,
  edit: (encoding: RTCRtpEncodingParameters, isBest: boolean) => void,
  ...preference: [RTCDegradationPreference?]
): Promise<boolean> {
  try {
    const parameters = sender.getParameters();
    // Before the first answer some browsers list none.
    if (parameters.encodings.length === 0) return false;
    parameters.encodings.forEach((encoding, index, all) => edit(encoding, index === all.length - 1));
    if (preference[0]) parameters.degradationPreference = preference[0];
    else if (preference.length > 0) delete parameters.degradationPreference;
    await sender.setParameters(parameters);
    return true;
  } catch {
    return false;
  }
}
