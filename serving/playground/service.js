// Requests to the service: addresses, bodies and errors.

/**
 * A picture is {card, seed, label (its number, or null for any), truncation} and, to be a JPEG on a colour instead of a
 * PNG, that background: "#rrggbb".
 */
export function addressOf({ card, seed, label, truncation, background }) {
  const query = new URLSearchParams({ version: card.version });
  if (label !== null) query.set("label", card.labels[label]);
  if (truncation !== 1) query.set("truncation", truncation);
  if (background) query.set("background", background);
  const file = `${seed}.${background ? "jpg" : "png"}`;
  return new URL(`images/${encodeURIComponent(card.name)}/${file}?${query}`, document.baseURI).href;
}

export function fileNameOf({ card, seed, background }) {
  return `${card.name}-${seed}.${background ? "jpg" : "png"}`;
}

/** Returns whether a model's images have transparency. */
export function hasAlpha(card) {
  return card.image.channels === 4;
}

/** Returns the label's number: the given one, otherwise the one that the service derives from the seed. */
export function labelOf({ card, seed, label }) {
  return card.labels === null ? null : label ?? seed % card.labels.length;
}

/** Returns a curl command for the same picture. Labels are numbers, so that nothing needs quoting. */
export function curlOf(picture) {
  const { card, seed, label, truncation, background } = picture;
  const body = { model: card.name, version: card.version, seeds: [seed] };
  if (label !== null) body.labels = [label];
  if (truncation !== 1) body.truncation = truncation;
  if (background) Object.assign(body, { format: "jpeg", background });
  const url = new URL("generate", document.baseURI).href;
  return `curl -s ${url} -H 'content-type: application/json' -d '${JSON.stringify(body)}' -o ${fileNameOf(picture)}`;
}

/** Fetches the loaded models: {default, models}. Rejects with the service's sentence. */
export async function fetchModels() {
  return (await ask("models")).json();
}

/** Fetches the service's sentence for an image that failed to load; null if it loads now. */
export async function whyNot(address) {
  try {
    await ask(address);
    return null;
  } catch (error) {
    return error.message;
  }
}

/** Fetches the images between a picture and another seed: [{position, format, data}]. Rejects with the service's sentence. */
export async function fetchWalk({ card, seed, label, truncation, background }, to, signal) {
  const body = {
    model: card.name, version: card.version, from: { seed }, to: { seed: to }, steps: 9, truncation, format: "png",
  };
  if (label !== null) body.labels = label;
  if (background) body.background = background;
  const answer = await ask("interpolate", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  return (await answer.json()).images;
}

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is it running?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error ?? `The service answered ${answer.status}.`);
}
