// One-key shortcuts of a call. They can be switched off, because a screen reader or dictation types single letters too.

import { useEffect, useState } from 'preact/hooks';
import { Sheet } from './sheet';

const KEY = 'anteroom.shortcuts';

export interface Shortcut {
  key: string;
  words: string;
  run: () => void;
}

export function useShortcuts(shortcuts: readonly Shortcut[]): { sheet: preact.JSX.Element | null; open: () => void } {
  const [on, setOn] = useState(() => readOn());
  const [isOpen, setOpen] = useState(false);

  useEffect(() => {
    const handle = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping(event.target)) return;
      if (document.querySelector('dialog[open]')) return;
      if (event.key === '?') {
        setOpen(true);
        event.preventDefault();
        return;
      }
      const match = on ? shortcuts.find((one) => one.key === event.key.toLowerCase()) : undefined;
      if (!match) return;
      event.preventDefault();
      match.run();
    };
    document.addEventListener('keydown', handle);
    return () => document.removeEventListener('keydown', handle);
  }, [shortcuts, on]);

  const sheet = isOpen ? (
    <Sheet heading="Keyboard" testid="shortcuts" onClose={() => setOpen(false)}>
      <ul class="facts">
        {shortcuts.map((one) => (
          <li key={one.key}>
            <kbd>{one.key.toUpperCase()}</kbd> {one.words}
          </li>
        ))}
        <li>
          <kbd>?</kbd> Show this list
        </li>
      </ul>
      <div class="row equal">
        <button
          type="button"
          class="button"
          aria-pressed={on}
          data-testid="shortcuts-toggle"
          onClick={() => {
            setOn(!on);
            writeOn(!on);
          }}
        >
          {on ? 'Letter keys are on' : 'Letter keys are off'}
        </button>
        <button type="button" class="button primary" onClick={() => setOpen(false)} data-testid="shortcuts-close">
          Close
        </button>
      </div>
    </Sheet>
  ) : null;
  return { sheet, open: () => setOpen(true) };
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(input|select|textarea)$/i.test(target.tagName));
}

function readOn(): boolean {
  try {
    return localStorage.getItem(KEY) !== 'off';
  } catch {
    return true;
  }
}

function writeOn(on: boolean): void {
  try {
    localStorage.setItem(KEY, on ? 'on' : 'off');
  } catch {
    // It then holds for this page only.
  }
}
