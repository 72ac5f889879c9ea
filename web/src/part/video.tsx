// A <video> for a MediaStream, and the tiles around it.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Remote, RosterEntry, View } from '../../sdk';
import { initials, pausedWords } from '../words';
import { useView } from './view';

export interface StreamVideoProps {
  stream: MediaStream;
  muted?: boolean;
  mirrored?: boolean;
  testid: string;
  label: string;
  /** Tells the first picture that was decoded. */
  onFirstFrame?: () => void;
}

export function StreamVideo({ stream, muted = false, mirrored = false, testid, label, onFirstFrame }: StreamVideoProps) {
  const ref = useRef<HTMLVideoElement>(null);
  const [cover, setCover] = useState(false);
  const [silent, setSilent] = useState(false);

  useEffect(() => {
    const video = ref.current;
    if (!video) return undefined;
    const play = () => {
      video.play().then(
        () => setSilent(false),
        // Without a touch of the page some browsers refuse to play sound; a button asks for that touch.
        (error: unknown) => setSilent(error instanceof DOMException && error.name === 'NotAllowedError'),
      );
    };
    video.srcObject = stream;
    play();
    stream.addEventListener('addtrack', play);
    // People are never cropped at the eyes: the picture fills its box only where both have ordinary camera shapes.
    const fit = () => {
      setCover(isCameraShape(video.videoWidth, video.videoHeight) && isCameraShape(video.clientWidth, video.clientHeight));
    };
    video.addEventListener('resize', fit);
    const box = new ResizeObserver(fit);
    box.observe(video);
    fit();
    return () => {
      stream.removeEventListener('addtrack', play);
      video.removeEventListener('resize', fit);
      box.disconnect();
      video.srcObject = null;
    };
  }, [stream]);

  useEffect(() => {
    const video = ref.current;
    if (!video || !onFirstFrame || !('requestVideoFrameCallback' in video)) return undefined;
    const handle = video.requestVideoFrameCallback(() => onFirstFrame());
    return () => video.cancelVideoFrameCallback(handle);
  }, [stream, onFirstFrame]);

  return (
    <>
      {/* Captions of a live talk come as their own track of words, not as a file. */}
      <video
        ref={ref}
        class={`${cover ? 'cover' : ''} ${mirrored ? 'mirrored' : ''}`}
        autoplay
        playsinline
        muted={muted}
        data-testid={testid}
        aria-label={label}
      />
      {silent && !muted && (
        <button
          type="button"
          class="button primary"
          data-testid="tap-to-hear"
          onClick={() => void ref.current?.play().then(() => setSilent(false))}
        >
          Tap to hear
        </button>
      )}
    </>
  );
}

/** Between 4:3 and 16:9, give or take what a crop of a few percent costs. */
function isCameraShape(width: number, height: number): boolean {
  const ratio = width / Math.max(1, height);
  return ratio >= 1.25 && ratio <= 1.9;
}

export interface RemoteTileProps {
  remote: Remote | null;
  entry: RosterEntry | null;
  name: string;
  speaking: boolean;
  /** The reader is staff, who read more exact words. */
  isStaff: boolean;
  onView: (participantId: string, view: View) => void;
  onFirstFrame?: () => void;
}

/** One other person: the picture if there is one, else who they are and why there is no picture. */
export function RemoteTile({ remote, entry, name, speaking, isStaff, onView, onFirstFrame }: RemoteTileProps) {
  const ref = useRef<HTMLElement>(null);
  const cameraOff = entry?.camera === false || (remote !== null && !remote.hasCamera);
  const gone = entry?.connected === false;
  const pictureOff = entry?.camera === false || entry?.mutedByClinician.includes('camera') === true;
  const who = entry?.participantId;
  const tell = useCallback((view: View) => who !== undefined && onView(who, view), [who, onView]);
  useView(ref, !pictureOff, tell);
  // Held back on the way to us, or by themselves.
  const paused = (remote?.cameraPaused === true || entry?.cameraHeld === true) && !cameraOff && !gone;
  const microphoneOff = entry?.microphone === false || entry?.mutedByClinician.includes('microphone') === true;
  return (
    <figure ref={ref} class={`tile ${speaking ? 'speaking' : ''} ${paused ? 'paused' : ''}`} data-testid="remote-tile">
      {remote && (
        <StreamVideo
          stream={remote.face}
          testid="remote-video"
          label={`Video of ${name}`}
          {...(onFirstFrame ? { onFirstFrame } : {})}
        />
      )}
      {(!remote || cameraOff || gone) && (
        <div class="tile absent">
          <div>
            <div class="initials" aria-hidden="true">
              {initials(name)}
            </div>
            {gone ? `Connection to ${name} lost. Their seat is kept.` : cameraOff ? 'Camera is off' : 'Connecting…'}
          </div>
        </div>
      )}
      <p class={paused ? 'plate paused-sign' : 'unseen'} role="status" data-testid="paused-sign">
        {paused ? pausedWords(isStaff) : ''}
      </p>
      <figcaption class="tile-name">
        {name}
        {microphoneOff ? ' · muted' : ''}
      </figcaption>
    </figure>
  );
}
