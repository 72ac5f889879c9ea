// How large a tile shows its picture, told to the server so that nothing is sent which nobody sees.

import { useEffect } from 'preact/hooks';
import type { View } from '../../sdk';

/** Below this many device pixels a picture of the lowest layer is as sharp as the tile can show it. */
const THUMBNAIL_PIXELS = 360;

/** What a tile of this width should be sent. */
export function viewOf(inSight: boolean, cssPixels: number, pixelRatio: number): View {
  if (!inSight) return 'hidden';
  return cssPixels * pixelRatio < THUMBNAIL_PIXELS ? 'thumbnail' : 'full';
}

/** Follows a tile's size and whether any of it can be seen. `wanted` is false where no picture would be shown anyway. */
export function useView(ref: { current: HTMLElement | null }, wanted: boolean, tell: (view: View) => void): void {
  useEffect(() => {
    const tile = ref.current;
    if (!tile) return undefined;
    if (!wanted) {
      tell('hidden');
      return undefined;
    }
    let inSight = true;
    const say = () => tell(viewOf(inSight, tile.clientWidth, window.devicePixelRatio));
    const sight = new IntersectionObserver((entries) => {
      inSight = entries.at(-1)?.isIntersecting ?? inSight;
      say();
    });
    const size = new ResizeObserver(say);
    sight.observe(tile);
    size.observe(tile);
    say();
    return () => {
      sight.disconnect();
      size.disconnect();
    };
  }, [ref, wanted, tell]);
}
