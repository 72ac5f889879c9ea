// This person's own microphone and camera: opening, choosing, muting, and the level meter.

import { Emitter } from './emitter';

export type DeviceProblem = 'blocked' | 'missing' | 'busy' | 'insecure';

export interface LocalOptions {
  /** Echo cancellation, noise suppression and gain control; off only for measurements with pure tones. */
  processing?: boolean;
}

export interface LocalEvents {
  /** A track, a mute state or a problem changed. */
  change: undefined;
  /** A track was put in place of another: senders must take it. */
  track: 'audio' | 'video';
}

export interface DeviceList {
  microphones: MediaDeviceInfo[];
  cameras: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

export class LocalMedia extends Emitter<LocalEvents> {
  /** What a self view shows; its tracks come and go. */
  readonly stream = new MediaStream();
  microphoneProblem: DeviceProblem | null = null;
  cameraProblem: DeviceProblem | null = null;
  #microphoneOn = true;
  #cameraOn = true;
  #audioContext: AudioContext | null = null;
  #analyser: AnalyserNode | null = null;
  #analysed: MediaStreamTrack | null = null;
  #samples: Float32Array<ArrayBuffer> | null = null;

  constructor(private readonly options: LocalOptions = {}) {
    super();
  }

  get microphone(): MediaStreamTrack | null {
    return this.stream.getAudioTracks()[0] ?? null;
  }

  get camera(): MediaStreamTrack | null {
    return this.stream.getVideoTracks()[0] ?? null;
  }

  /** True while sound may leave this device. */
  get microphoneOn(): boolean {
    return this.#microphoneOn && this.microphone !== null;
  }

  /** The system silenced the microphone: a phone call took it, or a switch on the device. */
  get microphoneInterrupted(): boolean {
    return this.microphone?.muted === true;
  }

  /** True while a picture may leave this device. */
  get cameraOn(): boolean {
    return this.#cameraOn && this.camera !== null;
  }

  /** Opens what can be opened; a missing or blocked device becomes a problem, not an exception. */
  async open(want: { audio: boolean; video: boolean } = { audio: true, video: true }): Promise<void> {
    const audio = want.audio && !this.microphone;
    const video = want.video && !this.camera;
    if (!audio && !video) return;
    if (audio && video) {
      // One question for both devices; only if that fails do we ask for each.
      try {
        this.#take(await this.#get(this.#audioWish(), this.#videoWish()));
        this.microphoneProblem = this.cameraProblem = null;
        this.emit('change', undefined);
        return;
      } catch {
        // Each device is asked for below, which tells us which one is the trouble.
      }
    }
    if (audio) this.microphoneProblem = await this.#tryTake(this.#audioWish(), false);
    if (video) this.cameraProblem = await this.#tryTake(false, this.#videoWish());
    this.emit('change', undefined);
  }

  async useMicrophone(deviceId: string): Promise<void> {
    this.microphoneProblem = await this.#tryTake({ ...this.#audioWish(), deviceId: { exact: deviceId } }, false);
    this.emit('change', undefined);
  }

  async useCamera(deviceId: string): Promise<void> {
    this.cameraProblem = await this.#tryTake(false, { ...this.#videoWish(), deviceId: { exact: deviceId } });
    this.emit('change', undefined);
  }

  setMicrophone(on: boolean): void {
    this.#microphoneOn = on;
    if (this.microphone) this.microphone.enabled = on;
    this.emit('change', undefined);
  }

  /** Off gives the device back, so that its light goes out. */
  async setCamera(on: boolean): Promise<void> {
    this.#cameraOn = on;
    if (!on) this.#drop('video');
    else if (!this.camera) this.cameraProblem = await this.#tryTake(false, this.#videoWish());
    this.emit('change', undefined);
  }

  async devices(): Promise<DeviceList> {
    const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const of = (kind: MediaDeviceKind) => all.filter((device) => device.kind === kind && device.deviceId !== '');
    return { microphones: of('audioinput'), cameras: of('videoinput'), speakers: of('audiooutput') };
  }

  /** Loudness of the microphone now, 0 to 1 on a scale that follows the ear; null where it cannot be measured. */
  level(): number | null {
    const track = this.microphone;
    if (!track || !this.#microphoneOn) return 0;
    if (this.#analysed !== track) this.#analyse(track);
    if (!this.#analyser || !this.#samples) return null;
    if (this.#audioContext?.state !== 'running') {
      void this.#audioContext?.resume();
      return null;
    }
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.#samples.length + 1e-9);
    return Math.min(1, Math.max(0, (decibels + 60) / 50));
  }

  close(): void {
    this.#drop('audio');
    this.#drop('video');
    void this.#audioContext?.close();
    this.#audioContext = null;
    this.#analysed = this.#analyser = null;
  }

  #audioWish(): MediaTrackConstraints {
    const processing = this.options.processing ?? true;
    return { echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing };
  }

  #videoWish(): MediaTrackConstraints {
    return {
      // Three sizes are made of it, and the smallest must still be a face.
      width: { ideal: 1280, max: 1280 },
      height: { ideal: 720, max: 720 },
      frameRate: { ideal: 30, max: 30 },
      facingMode: 'user',
    };
  }

  #get(audio: MediaTrackConstraints | false, video: MediaTrackConstraints | false): Promise<MediaStream> {
    if (!navigator.mediaDevices) return Promise.reject(new DOMException('not a secure context', 'SecurityError'));
    return navigator.mediaDevices.getUserMedia({ audio, video });
  }

  async #tryTake(audio: MediaTrackConstraints | false, video: MediaTrackConstraints | false): Promise<DeviceProblem | null> {
    try {
      this.#take(await this.#get(audio, video));
      return null;
    } catch (error) {
      return problemOf(error);
    }
  }

  #take(stream: MediaStream): void {
    for (const track of stream.getTracks()) {
      const kind = track.kind === 'audio' ? 'audio' : 'video';
      this.#drop(kind, false);
      track.contentHint = kind === 'audio' ? 'speech' : 'motion';
      if (kind === 'audio') track.enabled = this.#microphoneOn;
      // The device was pulled out or taken away: say so instead of sending a frozen picture.
      track.addEventListener('ended', () => {
        if (!this.stream.getTracks().includes(track)) return;
        if (kind === 'audio') this.microphoneProblem = 'missing';
        else this.cameraProblem = 'missing';
        this.#drop(kind);
        this.emit('change', undefined);
      });
      track.addEventListener('mute', () => this.emit('change', undefined));
      track.addEventListener('unmute', () => this.emit('change', undefined));
      this.stream.addTrack(track);
      this.emit('track', kind);
    }
  }

  #drop(kind: 'audio' | 'video', tell = true): void {
    for (const track of this.stream.getTracks()) {
      if (track.kind !== kind) continue;
      this.stream.removeTrack(track);
      track.stop();
      if (tell) this.emit('track', kind);
    }
  }

  #analyse(track: MediaStreamTrack): void {
    this.#analysed = track;
    try {
      this.#audioContext ??= new AudioContext();
      this.#analyser = this.#audioContext.createAnalyser();
      this.#analyser.fftSize = 1024;
      this.#samples = new Float32Array(this.#analyser.fftSize);
      this.#audioContext.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser);
    } catch {
      // Some browsers refuse a microphone whose rate is not the sound card's: then there is no meter, but there is sound.
      this.#analyser = null;
    }
  }
}

function problemOf(error: unknown): DeviceProblem {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' || name === 'PermissionDeniedError') return 'blocked';
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy';
  if (name === 'SecurityError') return 'insecure';
  return 'missing';
}
