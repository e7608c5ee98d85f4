// What is known about one place: the tile and the cell there, as rows of names and values.

import { number } from "./geometry.js";

const NAMES = {
  attention: "Attention", contribution: "Contribution", percentile: "Percentile of attention", raises: "Effect", note: "Note",
  class: "Class", probability: "Probability", area_um2: "Area", distance_um: "Distance from here",
};
const UNITS = { area_um2: "µm²", distance_um: "µm", length_um: "µm" };
const FRAME = new Set(["xy", "size"]);

/** The answer of `/at` as rows [name, text] under titles: [[title, rows]]. */
export function placeRows({ tile, cell, tissue, left_out: leftOut }) {
  const parts = [];
  const here = [["Tissue", tissue], ["Left out", leftOut]].filter(([, text]) => text);
  if (here.length) parts.push(["Here", here]);
  if (tile) parts.push([`Tile at ${tile.xy.map(Math.round).join(", ")}`, rows(tile)]);
  if (cell) parts.push(["Nearest cell", rows(cell)]);
  return parts;
}

function rows(values) {
  return Object.entries(values)
    .filter(([key, value]) => !FRAME.has(key) && value !== null && value !== "")
    .map(([key, value]) => [NAMES[key] ?? words(key), valueText(key, value)]);
}

function valueText(key, value) {
  if (key === "raises") return value ? "raises the score" : "lowers the score";
  const text = typeof value === "number" ? number(value) : words(String(value));
  return UNITS[key] ? `${text} ${UNITS[key]}` : text;
}

function words(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
