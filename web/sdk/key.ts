// The browser's own key: it never leaves this device, not even this script can read it. A link is spent by it, and a session's
// cookie is worth nothing without it. Proofs are those of RFC 9449.

export interface PublicKey {
  kty: string;
  crv: string;
  x: string;
  y: string;
}

export interface Pair {
  readonly publicKey: PublicKey;
  readonly sign: (bytes: Uint8Array<ArrayBuffer>) => Promise<ArrayBuffer>;
}

/** What a proof is for. Either `nonce`, the server's own, or `at`, the server's time in ms, makes it fresh. */
export interface ProofOf {
  method: string;
  path: string;
  at: number;
  nonce?: string;
  /** A secret that it goes with. */
  secret?: string;
}

const DATABASE = 'anteroom';
const STORE = 'keys';
const NAME = 'browser';
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' } as const;

let known: Promise<Pair | null> | undefined;

/** The key of this browser, if there is one already. */
export async function findKey(): Promise<Pair | null> {
  known ??= load(false);
  const pair = await known;
  // A page that looked before the key was made must not remember that.
  if (!pair) known = undefined;
  return pair;
}

/** The key of this browser; made on the first call. Where nothing can be kept, it lives as long as the page. */
export async function ownKey(): Promise<Pair> {
  const found = await findKey();
  if (found) return found;
  known = load(true);
  const pair = await known;
  if (!pair) throw new Error('a browser without WebCrypto');
  return pair;
}

export async function prove(pair: Pair, proof: ProofOf): Promise<string> {
  const { kty, crv, x, y } = pair.publicKey;
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } };
  const claims = {
    jti: crypto.randomUUID(),
    htm: proof.method,
    htu: `${typeof location === 'undefined' ? 'https://client.invalid' : location.origin}${proof.path}`,
    iat: Math.floor(proof.at / 1000),
    ...(proof.nonce === undefined ? {} : { nonce: proof.nonce }),
    ...(proof.secret === undefined ? {} : { ath: base64url(await crypto.subtle.digest('SHA-256', utf8(proof.secret))) }),
  };
  const text = `${base64url(utf8(JSON.stringify(header)))}.${base64url(utf8(JSON.stringify(claims)))}`;
  return `${text}.${base64url(await pair.sign(utf8(text)))}`;
}

async function load(make: boolean): Promise<Pair | null> {
  if (typeof crypto === 'undefined' || !crypto.subtle) return null;
  const database = await open().catch(() => null);
  try {
    let pair = database ? await request<CryptoKeyPair | undefined>(store(database, 'readonly').get(NAME)).catch(() => undefined) : undefined;
    if (!pair) {
      if (!make) return null;
      pair = await crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
      // Without a place to keep it the key serves this page; a reload then needs a new link.
      if (database) await request(store(database, 'readwrite').put(pair, NAME)).catch(() => undefined);
    }
    const { privateKey, publicKey } = pair;
    const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
    if (!kty || !crv || !x || !y) return null;
    return {
      publicKey: { kty, crv, x, y },
      sign: (bytes) => crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, bytes),
    };
  } finally {
    database?.close();
  }
}

async function open(): Promise<IDBDatabase> {
  const asked = indexedDB.open(DATABASE, 1);
  asked.addEventListener('upgradeneeded', () => asked.result.createObjectStore(STORE));
  return request(asked);
}

function store(database: IDBDatabase, mode: IDBTransactionMode): IDBObjectStore {
  return database.transaction(STORE, mode).objectStore(STORE);
}

function request<T>(asked: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    asked.addEventListener('success', () => resolve(asked.result));
    asked.addEventListener('error', () => reject(asked.error ?? new Error('IndexedDB')));
  });
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>;
}

function base64url(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): string {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
