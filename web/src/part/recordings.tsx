// A visit's recordings and their playback. Each play asks for a short-lived address, which is audited.

import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, type Artefact, type RecordingView } from '../../sdk';
import { announce } from '../announce';
import { api } from '../hook';
import { clockTime, elapsed, statusWords } from '../words';

/** A recording is ready seconds after it stops; until then we look this often. */
const LOOK_EVERY_MS = 2_000;
const UNSETTLED = new Set(['REQUESTED', 'STARTING', 'RECORDING', 'STOPPING', 'PROCESSING']);

export interface RecordingsProps {
  visitId: string;
  /** Names for participant ids. */
  nameOf: (participantId: string) => string;
  /** Changes when there is news about recordings. */
  news?: number;
}

export function Recordings({ visitId, nameOf, news = 0 }: RecordingsProps) {
  const [recordings, setRecordings] = useState<RecordingView[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    let stop = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      let again = true;
      try {
        const now = await api.recordings(visitId);
        if (stop) return;
        setRecordings(now);
        setProblem(null);
        again = now.some((one) => UNSETTLED.has(one.status));
      } catch (error) {
        if (stop) return;
        setProblem(error instanceof ApiError ? error.detail : 'The recordings could not be listed.');
      }
      if (again) timer = setTimeout(() => void look(), LOOK_EVERY_MS);
    };
    void look();
    return () => {
      stop = true;
      clearTimeout(timer);
    };
  }, [visitId, news]);

  return (
    <section class="stack" aria-labelledby="recordings-heading" data-testid="recordings">
      <h2 id="recordings-heading">Recordings</h2>
      {problem && <p class="notice">{problem}</p>}
      {recordings?.length === 0 && <p class="quiet">This visit was not recorded.</p>}
      <ul class="cards">
        {recordings?.map((recording) => (
          <li key={recording.recordingId} class="card" data-testid="recording-row" data-status={recording.status} data-id={recording.recordingId}>
            <p class="card-head">
              <span class="when">{clockTime(recording.startedAt ?? recording.requestedAt)}</span>
              <span class="who">
                {recording.durationMs === null ? '' : `${elapsed(recording.durationMs / 1000)} · `}
                {statusWords(recording.status)}
              </span>
            </p>
            {recording.artefacts?.map((artefact) => (
              <Player key={artefact.name} recordingId={recording.recordingId} artefact={artefact} nameOf={nameOf} />
            ))}
          </li>
        ))}
      </ul>
    </section>
  );
}

interface PlayerProps {
  recordingId: string;
  artefact: Artefact;
  nameOf: (participantId: string) => string;
}

function Player({ recordingId, artefact, nameOf }: PlayerProps) {
  const [url, setUrl] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const media = useRef<HTMLMediaElement>(null);
  const label = artefact.participantId ? nameOf(artefact.participantId) : 'Everyone, sound only';
  const play = async () => {
    setProblem(null);
    try {
      setUrl((await api.playback(recordingId, artefact.name)).url);
      announce(`Playing the recording of ${label}.`);
    } catch (error) {
      setProblem(error instanceof ApiError ? error.detail : 'It cannot be played right now.');
    }
  };
  useEffect(() => {
    if (url) void media.current?.play().catch(() => undefined);
  }, [url]);
  return (
    <div class="stack">
      <p class="card-head">
        <span class="who">{label}</span>
        <span class="quiet">{elapsed(artefact.durationMs / 1000)}</span>
        {url === null && (
          <button type="button" class="button small" data-testid="play" data-name={artefact.name} data-content={artefact.content} onClick={() => void play()}>
            Play<span class="unseen"> {label}</span>
          </button>
        )}
      </p>
      {problem && <p class="notice">{problem}</p>}
      {url !== null &&
        (artefact.mime.startsWith('video/') ? (
          <video class="player" ref={media as { current: HTMLVideoElement | null }} src={url} controls playsinline aria-label={`Recording of ${label}`} data-testid="player" data-name={artefact.name} />
        ) : (
          <audio class="player" ref={media as { current: HTMLAudioElement | null }} src={url} controls aria-label={`Recording: ${label}`} data-testid="player" data-name={artefact.name} />
        ))}
    </div>
  );
}
