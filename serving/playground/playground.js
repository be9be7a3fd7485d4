// The page: its controls, the grid, and the view's state in the address bar, so that a view can be shared.

import { addressOf, fetchModels, hasAlpha, labelOf, whyNot } from "./service.js";
import { parseSeeds, shuffledRange } from "./seeds.js";
import { Viewer } from "./viewer.js";

const find = (id) => document.getElementById(id);
const [modelSelect, seedsInput, truncationInput, grid] = ["model", "seeds", "truncation", "grid"].map(find);

const DEFAULT_SEEDS = "0-39";
// With more labels than this, a list is easier to use than chips.
const MOST_CHIPS = 16;
const TYPING_MS = 350;
const SLIDING_MS = 120;

let cards = [];
let card = null;
let label = null;
let seeds = [];
let round = 0; // so that a late response to an earlier request is not counted
let timer = 0;

const viewer = new Viewer(
  (seed, by) => {
    const tile = tiles()[seeds.indexOf(seed) + by];
    if (tile) open(tile);
  },
  () => {
    tiles().find((tile) => tile.tabIndex === 0)?.focus();
    remember();
  },
);

const tiles = () => [...grid.querySelectorAll("button")];
const truncation = () => truncationInput.valueAsNumber;
const pictureOf = (seed) => ({ card, seed, label, truncation: truncation() });

function later(action, delay) {
  clearTimeout(timer);
  timer = setTimeout(action, delay);
}

// ---- state in the address bar

function restore() {
  const state = new URLSearchParams(location.hash.slice(1));
  const named = cards.filter(({ name }) => name === state.get("model"));
  choose(named.find(({ version }) => String(version) === state.get("version")) ?? named.at(-1) ?? cards.find(({ isDefault }) => isDefault));
  const known = card.labels?.indexOf(state.get("label")) ?? -1;
  chooseLabel(known < 0 ? null : known);
  seedsInput.value = state.get("seeds") ?? DEFAULT_SEEDS;
  const asked = Number.parseFloat(state.get("truncation") ?? "1");
  truncationInput.value = Number.isNaN(asked) ? 1 : asked;
  if (!applySeeds()) return;
  const tile = tiles()[seeds.findIndex((seed) => String(seed) === state.get("open"))];
  if (tile) open(tile);
  else viewer.close();
}

function remember() {
  const state = new URLSearchParams({ model: card.name, version: card.version, seeds: seedsInput.value });
  if (label !== null) state.set("label", card.labels[label]);
  if (truncation() !== 1) state.set("truncation", truncation());
  if (viewer.seed !== null) state.set("open", viewer.seed);
  history.replaceState(null, "", `#${state.toString().replaceAll("%2C", ",")}`);
}

// ---- controls

function choose(chosen) {
  card = chosen;
  modelSelect.selectedIndex = cards.indexOf(card);
  find("labels").hidden = card.labels === null;
  find("label-chips").replaceChildren(...(card.labels === null ? [] : labelControls()));
  chooseLabel(null);
  grid.replaceChildren(); // the new model's images may have another shape
  grid.classList.toggle("small", Math.max(card.image.width, card.image.height) <= 128);
  grid.classList.toggle("alpha", hasAlpha(card));
  grid.style.setProperty("--shape", `${card.image.width} / ${card.image.height}`);
  find("intended-use").textContent = card.intended_use;
  find("licence").textContent = `Licence: ${card.licence.replace(/\.$/, "")}.`;
}

function labelControls() {
  const names = ["any", ...card.labels];
  if (names.length > MOST_CHIPS) {
    const select = element("select", { ariaLabel: "Label" });
    select.append(...names.map((name, index) => new Option(name, index - 1)));
    select.addEventListener("change", () => pickLabel(Number(select.value)));
    return [select];
  }
  return names.map((name, index) => {
    const radio = element("input", { type: "radio", name: "label", value: index - 1 });
    radio.addEventListener("change", () => pickLabel(index - 1));
    const chip = element("label", { className: "chip", title: index ? "" : "Each seed draws its own: seed n the label n % the number of labels" });
    chip.append(radio, element("span", { textContent: name }));
    return chip;
  });
}

function chooseLabel(number) {
  label = number;
  const value = String(number ?? -1);
  for (const radio of find("label-chips").querySelectorAll("input")) radio.checked = radio.value === value;
  const select = find("label-chips").querySelector("select");
  if (select) select.value = value;
}

function pickLabel(number) {
  label = number < 0 ? null : number;
  draw();
}

/** Reads the seeds field. With `quietly`, while the user types, invalid text shows no error. */
function applySeeds(quietly = false) {
  try {
    seeds = parseSeeds(seedsInput.value);
  } catch (error) {
    if (!quietly) {
      seedsInput.setAttribute("aria-invalid", "true");
      complain(error.message);
    }
    return false;
  }
  seedsInput.removeAttribute("aria-invalid");
  draw();
  return true;
}

find("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  applySeeds();
});
seedsInput.addEventListener("input", () => later(() => applySeeds(true), TYPING_MS));
seedsInput.addEventListener("change", () => {
  clearTimeout(timer);
  applySeeds();
});
find("shuffle").addEventListener("click", () => {
  seedsInput.value = shuffledRange(seeds.length || 40);
  applySeeds();
});
truncationInput.addEventListener("input", () => {
  find("truncation-value").value = truncation().toFixed(2);
  later(draw, SLIDING_MS);
});
modelSelect.addEventListener("change", () => {
  choose(cards[modelSelect.selectedIndex]);
  applySeeds();
});
addEventListener("hashchange", () => card && restore());

// ---- the grid

/** Draws the grid for the controls' state. A tile that keeps its seed shows its old image until the new one arrives. */
function draw() {
  const thisRound = (round += 1);
  const began = performance.now();
  let arrived = 0;
  let asked = false; // show the reason of one failure only
  complain(null);
  find("truncation-value").value = truncation().toFixed(2);
  find("status").textContent = "Drawing …";
  const kept = new Map(tiles().map((tile) => [Number(tile.dataset.seed), tile]));
  const items = seeds.map((seed) => {
    const tile = kept.get(seed) ?? createTile(seed);
    tile.tabIndex = -1;
    const address = addressOf(pictureOf(seed));
    const image = tile.firstElementChild;
    image.alt = label === null && card.labels === null ? "" : `label ${card.labels[labelOf(pictureOf(seed))]}`;
    tile.classList.remove("failed");
    const done = () => {
      tile.classList.add("arrived");
      if (thisRound !== round) return;
      arrived += 1;
      if (arrived === seeds.length) {
        const took = ((performance.now() - began) / 1000).toFixed(2);
        find("status").textContent = `${arrived} ${arrived === 1 ? "image" : "images"} in ${took} s`;
      }
    };
    image.onload = done;
    image.onerror = async () => {
      tile.classList.replace("arrived", "failed") || tile.classList.add("failed");
      if (asked || thisRound !== round) return;
      asked = true;
      const sentence = await whyNot(address);
      if (thisRound !== round) return;
      find("status").textContent = "";
      complain(sentence ?? "An image did not arrive.", draw);
    };
    if (image.src === address && image.complete && tile.classList.contains("arrived")) done();
    else image.src = address;
    return tile.parentElement;
  });
  grid.replaceChildren(...items);
  const [first] = tiles();
  if (first) first.tabIndex = 0;
  if (viewer.seed !== null && seeds.includes(viewer.seed)) viewer.show(pictureOf(viewer.seed));
  remember();
}

function createTile(seed) {
  const tile = element("button", { type: "button", className: "tile" });
  tile.dataset.seed = seed;
  tile.append(
    element("img", { decoding: "async", width: card.image.width, height: card.image.height }),
    element("span", { className: "seed", textContent: seed, ariaLabel: `seed ${seed}` }),
  );
  tile.addEventListener("click", () => open(tile));
  const item = element("li");
  item.append(tile);
  return tile;
}

function open(tile) {
  rove(tile);
  const seed = Number(tile.dataset.seed);
  viewer.show(pictureOf(seed), seeds[seeds.indexOf(seed) + 1]);
  remember();
}

/** Tab reaches one tile; arrow keys reach the others. */
function rove(tile) {
  for (const other of tiles()) other.tabIndex = other === tile ? 0 : -1;
}

grid.addEventListener("keydown", (event) => {
  const all = tiles();
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const here = all.indexOf(event.target);
  const there = {
    ArrowLeft: here - 1, ArrowRight: here + 1, ArrowUp: here - columns, ArrowDown: here + columns, Home: 0, End: all.length - 1,
  }[event.key];
  if (here < 0 || there === undefined) return;
  event.preventDefault();
  if (!all[there]) return;
  rove(all[there]);
  all[there].focus();
});

// ---- helpers

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

function complain(sentence, retry) {
  const line = find("error");
  line.hidden = sentence === null;
  line.textContent = sentence;
  if (!retry) return;
  const again = element("button", { type: "button", className: "quiet", textContent: "Try again" });
  again.addEventListener("click", retry);
  line.append(" ", again);
}

async function start() {
  complain(null);
  try {
    const loaded = await fetchModels();
    cards = loaded.models;
    const newest = cards.filter(({ name }) => name === loaded.default).at(-1) ?? cards[0];
    if (!newest) throw new Error("No model is loaded yet.");
    newest.isDefault = true;
  } catch (error) {
    complain(error.message, start);
    return;
  }
  modelSelect.replaceChildren(...cards.map(({ name, version }) => new Option(`${name} · version ${version}`)));
  restore();
}

start();
