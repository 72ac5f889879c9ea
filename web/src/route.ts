// Which screen an address means.

export type Route =
  | { screen: 'home' }
  | { screen: 'join'; code: string }
  | { screen: 'get-link'; handle: string }
  | { screen: 'desk' }
  | { screen: 'seat' }
  | { screen: 'visit'; visitId: string };

export function routeOf(path: string, search: string): Route {
  const join = /^\/j\/([^/]+)\/?$/.exec(path);
  if (join?.[1]) {
    try {
      return { screen: 'join', code: decodeURIComponent(join[1]) };
    } catch {
      return { screen: 'join', code: join[1] };
    }
  }
  const page = /^\/m\/([1-9A-HJ-NP-Za-km-z]{11})\/?$/.exec(path);
  if (page?.[1]) return { screen: 'get-link', handle: page[1] };
  if (/^\/desk\/?$/.test(path)) return { screen: 'desk' };
  if (/^\/visit\/?$/.test(path)) {
    const visitId = new URLSearchParams(search).get('id');
    return visitId ? { screen: 'visit', visitId } : { screen: 'seat' };
  }
  return { screen: 'home' };
}
