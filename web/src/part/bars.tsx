// Network bars: four steps and the same in words.

import { networkWords } from '../words';

export function Bars({ bars, whose }: { bars: number; whose: string }) {
  const words = `${whose}: ${networkWords(bars)}`;
  return (
    <span class="bars" role="img" aria-label={words} title={words} data-testid="bars" data-bars={bars}>
      {[1, 2, 3, 4].map((step) => (
        <i key={step} class={step <= bars ? 'lit' : ''} />
      ))}
    </span>
  );
}
