// The practice's name and number, kept for the tab, so that no page is without a way to call.

import type { Practice } from '../sdk';

const KEY = 'anteroom.practice';

export function rememberPractice(practice: Practice): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ name: practice.name, phone: practice.phone }));
  } catch {
    // Storage may be off; the current page knows the number anyway.
  }
}

export function knownPractice(): Practice | null {
  try {
    const value: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
    return isPractice(value) ? value : null;
  } catch {
    return null;
  }
}

export function isPractice(value: unknown): value is Practice {
  if (typeof value !== 'object' || value === null) return false;
  const { name, phone } = value as Record<string, unknown>;
  return typeof name === 'string' && typeof phone === 'string';
}

const SPENT = 'anteroom.spent';

/** This tab redeemed the code: opening the link again leads back to the seat. */
export function rememberSpent(code: string): void {
  try {
    sessionStorage.setItem(SPENT, code);
  } catch {
    // Without storage the page says that the link was used, which is true.
  }
}

export function wasSpentHere(code: string): boolean {
  try {
    return sessionStorage.getItem(SPENT) === code;
  } catch {
    return false;
  }
}
