// Which screen an address means.

export type Route =
  | { screen: 'home' }
  | { screen: 'join'; code: string }
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
  if (/^\/desk\/?$/.test(path)) return { screen: 'desk' };
  if (/^\/visit\/?$/.test(path)) {
    const visitId = new URLSearchParams(search).get('id');
    return visitId ? { screen: 'visit', visitId } : { screen: 'seat' };
  }
  return { screen: 'home' };
}
