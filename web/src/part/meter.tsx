// How loud the microphone hears: steps that light up, and the same in words. It never flashes.

import { useEffect, useState } from 'preact/hooks';
import type { LocalMedia } from '../../sdk';

const STEPS = 12;
/** Slow enough to read and to stay far from any flashing limit. */
const EVERY_MS = 150;
/** Silence for this long while the page asks to say something. */
const SILENT_AFTER_MS = 8_000;

export function LevelMeter({ local, onSilence }: { local: LocalMedia; onSilence?: (silent: boolean) => void }) {
  const [level, setLevel] = useState(0);
  useEffect(() => {
    let lastHeard = performance.now();
    let wasSilent = false;
    const timer = setInterval(() => {
      const now = local.level();
      setLevel((before) => Math.max(now ?? 0, before * 0.7));
      // Where nothing can be measured we do not claim silence.
      if (now === null || now > 0.12) lastHeard = performance.now();
      const silent = performance.now() - lastHeard > SILENT_AFTER_MS;
      if (silent !== wasSilent) onSilence?.(silent);
      wasSilent = silent;
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [local, onSilence]);
  const lit = Math.round(level * STEPS);
  return (
    <div
      class="meter"
      role="meter"
      aria-label="Microphone level"
      aria-valuemin={0}
      aria-valuemax={STEPS}
      aria-valuenow={lit}
      aria-valuetext={lit > 1 ? 'We hear you' : 'Quiet'}
      data-testid="level"
    >
      {Array.from({ length: STEPS }, (_, index) => (
        <i key={index} class={index < lit ? 'lit' : ''} />
      ))}
    </div>
  );
}
