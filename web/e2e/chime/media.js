// Tones and pictures that can be told apart at the far side, and what is in a sound that came from there.

let context;

/** Somebody who hums. */
export function tone(frequency) {
  context ??= new AudioContext();
  const oscillator = context.createOscillator();
  const gain = context.createGain();
  const out = context.createMediaStreamDestination();
  oscillator.frequency.value = frequency;
  gain.gain.value = 0.25;
  oscillator.connect(gain).connect(out);
  oscillator.start();
  return out.stream;
}

/** Grain that costs bits wherever it moves. */
function grain() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 256;
  const paint = canvas.getContext('2d');
  const pixels = paint.createImageData(256, 256);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.fill(Math.random() * 255, at, at + 3);
    pixels.data[at + 3] = 255;
  }
  paint.putImageData(pixels, 0, 0);
  return canvas;
}

/** A plain colour with something that moves in its corner; a `lively` one has a quarter of grain, so that a larger picture costs more. */
export function picture(colour, [width, height] = [640, 360], lively = false) {
  const moving = lively ? grain() : null;
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  const paint = canvas.getContext('2d');
  let frame = 0;
  const timer = setInterval(() => {
    paint.fillStyle = `rgb(${colour.join(',')})`;
    paint.fillRect(0, 0, width, height);
    if (moving) paint.drawImage(moving, (frame * 3) % 64, (frame * 5) % 64, 192, 192, 0, 0, width / 4, height);
    paint.fillStyle = frame % 2 ? 'white' : 'black';
    paint.fillRect(8 + (frame++ % 40), 8, 40, 40);
    if (stream.getVideoTracks()[0].readyState === 'ended') clearInterval(timer);
  }, 66);
  const stream = canvas.captureStream(15);
  return stream;
}

/** Which of these tones are in a stream: each in decibels. */
export async function soundOf(stream, tones, forMs = 1000) {
  const own = new AudioContext();
  await own.resume();
  const analyser = own.createAnalyser();
  analyser.fftSize = 16384;
  analyser.smoothingTimeConstant = 0;
  own.createMediaStreamSource(stream).connect(analyser);
  await new Promise((resolve) => setTimeout(resolve, forMs));
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  const at = (hertz) => {
    const middle = Math.round((hertz * analyser.fftSize) / own.sampleRate);
    return Math.max(...bins.subarray(middle - 3, middle + 4));
  };
  const found = Object.fromEntries(tones.map((hertz) => [hertz, Math.round(at(hertz))]));
  await own.close();
  return found;
}

/** The mean colour in the middle of a picture; nothing without one. */
export function colourOf(video) {
  if (!video?.videoWidth) return null;
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const paint = canvas.getContext('2d');
  const { videoWidth: w, videoHeight: h } = video;
  paint.drawImage(video, w / 3, h / 3, w / 3, h / 3, 0, 0, 1, 1);
  return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
