// Whether the own picture is kept smaller than the way out allows: what the browser reckons and makes in, a nudge out. Browsers
// begin small where they guess little, and let many seconds pass before they try more, whatever they have measured meanwhile.

/** A camera of the best size, where the browser does not tell what it gives. */
const USUAL_PIXELS = 1280 * 720;
/** What a picture of the camera's own size needs, and the least of any. */
const BPS_PER_PIXEL = 1.3;
const LEAST_BPS = 450_000;
/** As large as the camera's, but for what encoders cut off at an edge. */
const WHOLE = 0.95;
/** Loss beyond this says that the way is full, whatever is reckoned. */
const LOSSY = 0.02;
/** What browsers reckon at the start overshoots for a moment. */
const HELD_FOR_MS = 1_000;
/** A size that was taken back at once is one that the encoder cannot make: fewer and fewer nudges, and no more after these. */
const SPACING_MS = [0, 3_000, 9_000, 27_000];
/** A picture that was whole for so long begins anew. */
const STEADY_MS = 30_000;

/** One look at what is sent; `null` where the browser does not say. */
export interface Making {
  /** What the way out carries. */
  availableBps: number | null;
  /** Why the picture is not what was asked for, by the browser. */
  limit: string | null;
  /** Of the largest size that is made, and of what the camera gives. */
  pixels: number | null;
  cameraPixels: number | null;
  /** Share of what was sent of late that the server did not get. */
  lost: number;
}

export class Stretch {
  #heldSince: number | null = null;
  #wholeSince: number | null = null;
  #nudges = 0;
  #nudgedAt = Number.NEGATIVE_INFINITY;

  /** One look at `now` (monotonic, in ms): true when the browser should try the whole size at once. */
  look(now: number, { availableBps, limit, pixels, cameraPixels, lost }: Making): boolean {
    const whole = cameraPixels ?? USUAL_PIXELS;
    const isSmall = pixels !== null && pixels < whole * WHOLE;
    const isWide = availableBps !== null && availableBps >= Math.max(LEAST_BPS, whole * BPS_PER_PIXEL) && lost <= LOSSY;
    this.#wholeSince = pixels === null || isSmall ? null : (this.#wholeSince ?? now);
    if (this.#wholeSince !== null && now - this.#wholeSince >= STEADY_MS) this.#nudges = 0;
    this.#heldSince = isSmall && isWide && limit === 'bandwidth' ? (this.#heldSince ?? now) : null;
    const spacing = SPACING_MS[this.#nudges];
    if (this.#heldSince === null || spacing === undefined) return false;
    if (now - this.#heldSince < HELD_FOR_MS || now - this.#nudgedAt < spacing) return false;
    this.#nudges += 1;
    this.#nudgedAt = now;
    this.#heldSince = null;
    return true;
  }

  /** Something else than the browser changes the size: what was seen says nothing. */
  forget(): void {
    this.#heldSince = null;
  }
}
