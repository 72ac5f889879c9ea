// The self view: mirrored, and moved from corner to corner by a button instead of a drag.

import { useState } from 'preact/hooks';
import type { LocalMedia } from '../../sdk';
import { useLocal } from '../hook';
import { Icon } from './icon';
import { StreamVideo } from './video';

export function SelfView({ local }: { local: LocalMedia }) {
  useLocal(local);
  const [corner, setCorner] = useState(0);
  return (
    <div class={`self at-${corner}`} data-testid="self-tile">
      {local.cameraOn ? (
        <StreamVideo stream={local.stream} muted mirrored testid="self-view" label="Your own video" />
      ) : (
        <span>Your camera is off</span>
      )}
      <button type="button" aria-label="Move your own picture to another corner" onClick={() => setCorner((corner + 1) % 4)}>
        <span>
          <Icon name="move" />
        </span>
      </button>
    </div>
  );
}
