// The browser SDK of Anteroom: everything a page needs to hold a visit, and nothing about how it looks.

export * from './api';
export * from './key';
export { Backoff } from './backoff';
export { ServerClock } from './clock';
export * from './local';
export type * from './message';
export type { MediaState } from './media';
export type { Remote } from './slot';
export * from './stats';
export * from './visit';
