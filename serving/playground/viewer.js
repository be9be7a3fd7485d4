// The dialog: one image, large, with its address, its curl line, and a walk to another seed.

import { addressOf, curlOf, fetchWalk, fileNameOf, hasAlpha, labelOf } from "./service.js";
import { MAX_SEED } from "./seeds.js";

const find = (id) => document.getElementById(id);

// Milliseconds before the walk of a shown image is requested, so that browsing requests none.
const SETTLE_MS = 250;

export class Viewer {
  #dialog = find("viewer");
  #image = find("viewer-image");
  #position = find("walk-position");
  #target = find("walk-to");
  #file = find("file");
  #background = find("background");
  #picture = null;
  #frames = null;
  #pending = new AbortController();
  #timer = 0;

  /** `step(seed, by)` shows a neighbouring image; `closed()` is called when the dialog closes. */
  constructor(step, closed) {
    find("viewer-close").addEventListener("click", () => this.#dialog.close());
    find("previous").addEventListener("click", () => step(this.seed, -1));
    find("next").addEventListener("click", () => step(this.seed, 1));
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // a click outside of the dialog
    });
    this.#dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && !event.target.closest("input, select, code")) step(this.seed, by);
    });
    this.#dialog.addEventListener("close", () => {
      this.#forgetWalk();
      this.#picture = null;
      closed();
    });
    for (const button of this.#dialog.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => copy(find(button.dataset.copies), button));
    }
    for (const choice of [this.#file, this.#background]) {
      choice.addEventListener("change", () => this.show(this.#picture));
    }
    this.#position.addEventListener("input", () => this.#showFrame());
    this.#target.addEventListener("change", () => this.#planWalk(0));
  }

  get seed() {
    return this.#picture?.seed ?? null;
  }

  /** Shows a picture, as the chosen file if it is transparent; `neighbour` is the first target seed of its walk. */
  show(asked, neighbour) {
    const before = this.#picture;
    const { card, seed, truncation } = asked;
    const isJpeg = this.#file.value === "jpg";
    find("file-choice").hidden = !hasAlpha(card);
    this.#background.disabled = !isJpeg;
    const picture = { ...asked, background: hasAlpha(card) && isJpeg ? this.#background.value : null };
    this.#picture = picture;
    const { width, height } = card.image;
    const label = labelOf(picture);
    const name = label === null ? "" : card.labels[label];
    find("viewer-title").textContent = `Seed ${seed}`;
    find("viewer-facts").textContent = [
      `${card.name}, version ${card.version}`, name && `label ${name}`, `truncation ${truncation}`, `${width} × ${height}`,
    ].filter(Boolean).join(" · ");
    find("address").textContent = addressOf(picture);
    find("curl").textContent = curlOf(picture);
    find("download").href = addressOf(picture);
    find("download").download = fileNameOf(picture);
    this.#image.alt = `Seed ${seed}${name && `, label ${name}`}, generated`;
    this.#image.width = width;
    this.#image.height = height;
    this.#image.classList.toggle("small", Math.max(width, height) <= 128);
    this.#image.classList.toggle("alpha", hasAlpha(card));
    this.#image.src = addressOf(picture);
    if (before?.seed !== seed) this.#target.value = neighbour ?? (seed < MAX_SEED ? seed + 1 : 0);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#planWalk(SETTLE_MS);
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  #forgetWalk() {
    clearTimeout(this.#timer);
    this.#pending.abort();
    this.#frames = null;
    this.#position.value = 0;
    this.#position.disabled = true;
    if (this.#picture) this.#image.src = addressOf(this.#picture);
  }

  #planWalk(delay) {
    this.#forgetWalk();
    const to = this.#target.valueAsNumber;
    if (!Number.isInteger(to) || to < 0 || to > MAX_SEED) {
      find("walk-hint").textContent = `A seed is a whole number from 0 to ${MAX_SEED}.`;
      return;
    }
    this.#pending = new AbortController();
    this.#timer = setTimeout(() => this.#fetchWalk(to, this.#pending.signal), delay);
  }

  async #fetchWalk(to, signal) {
    let hint = "";
    let frames = null;
    try {
      frames = await fetchWalk(this.#picture, to, signal);
    } catch (error) {
      hint = error.message;
    }
    if (signal.aborted) return; // the dialog shows another picture by now
    this.#frames = frames;
    this.#position.disabled = !this.#frames;
    this.#position.max = (this.#frames?.length ?? 1) - 1;
    find("walk-hint").textContent = hint;
    if (this.#frames) this.#showFrame();
  }

  #showFrame() {
    const frame = this.#frames[this.#position.valueAsNumber];
    const progress = `${Math.round(frame.position * 100)} % of the way`;
    this.#image.src = frame.position === 0 ? addressOf(this.#picture) : `data:image/${frame.format};base64,${frame.data}`;
    this.#position.setAttribute("aria-valuetext", progress);
    find("walk-hint").textContent = frame.position === 0 ? "Drag to see what lies between." : progress;
  }
}

async function copy(source, button) {
  const selection = getSelection();
  selection.selectAllChildren(source);
  try {
    // Only pages from localhost or over TLS have a clipboard; the old command works everywhere.
    if (navigator.clipboard) await navigator.clipboard.writeText(source.textContent);
    else if (!document.execCommand("copy")) return;
  } catch {
    return; // the text stays selected, so that the user can copy it with a key
  }
  selection.removeAllRanges();
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
