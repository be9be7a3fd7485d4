// Seeds, and StyleGAN's notation for several: "0-15,42".

export const MAX_SEED = 2 ** 32 - 1;

// More images would make the page slow. The service has no such limit on addresses.
const MOST = 256;

/** Returns the seeds in a text, in its order. Throws an Error with a message for the user. */
export function parseSeeds(text) {
  const seeds = new Set();
  for (const part of text.split(",").map((piece) => piece.trim())) {
    const match = /^(\d{1,10})(?:\s*-\s*(\d{1,10}))?$/.exec(part);
    if (!match) {
      throw new Error(part ? `“${part}” is no seed: write numbers and ranges, as in 0-15,42.` : "Write a seed between the commas, as in 0-15,42.");
    }
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last > MAX_SEED || first > MAX_SEED) throw new Error(`A seed is at most ${MAX_SEED}.`);
    if (last < first) throw new Error(`“${part}” runs backwards: did you mean ${last}-${first}?`);
    if (seeds.size + last - first >= MOST) throw new Error(`This page shows up to ${MOST} images at once.`);
    for (let seed = first; seed <= last; seed += 1) seeds.add(seed);
  }
  return [...seeds];
}

/** Returns a random range of the same number of seeds: one range keeps the address short enough to share. */
export function shuffledRange(count) {
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  const first = Math.min(random, MAX_SEED - count + 1);
  return count > 1 ? `${first}-${first + count - 1}` : String(first);
}
