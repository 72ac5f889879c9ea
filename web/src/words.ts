// Times and states in plain words.

/** "10:30", in the reader's own time and manner. */
export function clockTime(instant: string): string {
  const date = new Date(instant);
  return Number.isNaN(date.getTime()) ? '' : date.toLocaleTimeString([], { hour: 'numeric', minute: '2-digit' });
}

/** "today at 10:30" or "Monday, 3 March at 10:30". */
export function dayAndTime(instant: string, now: Date = new Date()): string {
  const date = new Date(instant);
  if (Number.isNaN(date.getTime())) return '';
  const day =
    date.toDateString() === now.toDateString()
      ? 'today'
      : date.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' });
  return `${day} at ${clockTime(instant)}`;
}

/** "less than a minute", "4 min", "1 h 5 min". */
export function waited(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return 'less than a minute';
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Why a picture stands still although its camera is on. */
export function pausedWords(isStaff: boolean): string {
  return isStaff ? 'Picture paused for sound.' : 'We turned the picture off so you can hear each other. It comes back by itself.';
}

/** What staff read when the service is about to restart while their visit runs. */
export function restartWords(at: string): string {
  return `The video service restarts at ${clockTime(at)}. If your visit is still running then, everybody is connected again by itself.`;
}

export type Patience = 'calm' | 'soon' | 'late';

/** Amber at 3 minutes, red at 5. */
export function patience(seconds: number): Patience {
  return seconds >= 300 ? 'late' : seconds >= 180 ? 'soon' : 'calm';
}

/** The colour is never alone: "9 min, late". */
export function waitedWords(seconds: number): string {
  const level = patience(seconds);
  return level === 'calm' ? waited(seconds) : `${waited(seconds)}, ${level === 'late' ? 'late' : 'getting long'}`;
}

/** "12:04". */
export function elapsed(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const rest = `${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}

const STATUS: Readonly<Record<string, string>> = {
  SCHEDULED: 'Scheduled',
  WAITING: 'Waiting',
  IN_PROGRESS: 'In progress',
  COMPLETED: 'Done',
  NO_SHOW: 'Did not come',
  CANCELLED: 'Cancelled',
  TECHNICAL: 'Ended by a technical problem',
  PROCESSING: 'Being prepared',
  STORED: 'Ready',
  FAILED: 'Failed',
  RECORDING: 'Recording',
  REQUESTED: 'Starting',
  STOPPING: 'Stopping',
};

export function statusWords(status: string): string {
  return STATUS[status] ?? status.toLowerCase().replaceAll('_', ' ');
}

export function networkWords(bars: number): string {
  return ['No connection', 'Very weak connection', 'Weak connection', 'Fair connection', 'Good connection'][bars] ?? 'Connection unknown';
}

export function initials(name: string): string {
  const parts = name.split(/\s+/).filter(Boolean);
  return ((parts[0]?.[0] ?? '') + (parts.length > 1 ? (parts[parts.length - 1]?.[0] ?? '') : '')).toUpperCase() || '?';
}
