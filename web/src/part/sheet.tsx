// A modal sheet on the browser's own <dialog>, which keeps the focus inside and gives it back.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export interface SheetProps {
  heading: string;
  testid: string;
  onClose: () => void;
  children: ComponentChildren;
}

export function Sheet({ heading, testid, onClose, children }: SheetProps) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      class="sheet"
      aria-labelledby="sheet-heading"
      data-testid={testid}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <div class="stack">
        <h2 id="sheet-heading">{heading}</h2>
        {children}
      </div>
    </dialog>
  );
}

export interface ConfirmProps {
  heading: string;
  text: string;
  action: string;
  onConfirm: () => void;
  onCancel: () => void;
}

/** One question, and the safe answer comes first. */
export function Confirm({ heading, text, action, onConfirm, onCancel }: ConfirmProps) {
  return (
    <Sheet heading={heading} testid="confirm" onClose={onCancel}>
      <p>{text}</p>
      <div class="row equal">
        <button type="button" class="button" onClick={onCancel} data-testid="confirm-no">
          Go back
        </button>
        <button type="button" class="button danger" onClick={onConfirm} data-testid="confirm-yes">
          {action}
        </button>
      </div>
    </Sheet>
  );
}
