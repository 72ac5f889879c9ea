// The three sounds of a visit, made on the spot: somebody arrived, you are admitted, recording started or stopped.

let context: AudioContext | null = null;

function tones(frequencies: readonly number[]): void {
  try {
    context ??= new AudioContext();
    void context.resume();
    const start = context.currentTime + 0.02;
    frequencies.forEach((frequency, index) => {
      if (!context) return;
      const at = start + index * 0.14;
      const oscillator = context.createOscillator();
      const gain = context.createGain();
      oscillator.frequency.value = frequency;
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(0.12, at + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.0001, at + 0.35);
      oscillator.connect(gain).connect(context.destination);
      oscillator.start(at);
      oscillator.stop(at + 0.4);
    });
  } catch {
    // No sound device: the words on the screen and the live region say the same.
  }
}

export const sound = {
  arrived: () => tones([659, 784]),
  admitted: () => tones([523, 659, 784]),
  recording: () => tones([880, 880]),
  test: () => tones([523, 587, 659, 698, 784]),
};
