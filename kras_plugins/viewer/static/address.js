// The view as text: the fragment of the page's address, and the query of the picture that the server draws.

/**
 * The fragment as {x, y, um, layers, side}; x, y: center in level-0 pixels; um: width of the view; layers: Map of id to
 * {opacity, keys}, where keys are the drawn entries of its legend, null for all. What is missing or not a number is null.
 */
export function readFragment(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  return {
    x: finite(given.get("x")),
    y: finite(given.get("y")),
    um: positive(given.get("um")),
    layers: given.has("layers") ? readLayers(given.get("layers")) : null,
    side: given.get("side") === "1",
  };
}

/** The fragment of a view, as `readFragment` reads it. */
export function writeFragment({ x, y, um, layers, side }) {
  const parts = [`x=${Math.round(x)}`, `y=${Math.round(y)}`, `um=${Number(um.toPrecision(4))}`, layersQuery(layers)];
  return `#${[...parts, ...(side ? ["side=1"] : [])].join("&")}`;
}

/** The visible layers, the lowest first, as in the fragment and on the server: `layers=cells:0.8:tumor,attention:0.5`. */
export function layersQuery(layers) {
  const words = [...layers].map(([id, { opacity, keys }]) => {
    const some = keys === null ? [] : keys.length ? keys : [""];
    return [id, Number(opacity.toFixed(2)), ...some].map(encodeURIComponent).join(":");
  });
  return `layers=${words.join(",")}`;
}

/** Keys of a legend as the query of a tile; empty if all are drawn. */
export function keysQuery(keys) {
  return keys === null ? "" : `?keys=${keys.map(encodeURIComponent).join(",")}`;
}

function readLayers(text) {
  const layer = ([id, opacity, ...keys]) => [id, { opacity: clamp(finite(opacity ?? null)), keys: keys.length ? keys : null }];
  return new Map(text.split(",").filter(Boolean).map((part) => layer(part.split(":"))));
}

function clamp(opacity) {
  return Math.min(1, Math.max(0, opacity ?? 1));
}

function finite(text) {
  return text !== null && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
}

function positive(text) {
  const value = finite(text);
  return value !== null && value > 0 ? value : null;
}
