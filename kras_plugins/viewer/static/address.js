// The view as text: the fragment of the page's address, and the query of the picture that the server draws.

/**
 * The fragment as {x, y, um, layers: Map(id -> opacity), keys: Map(id -> [key]), side}; what is missing or no number is
 * null. x, y: center in level-0 pixels; um: width of the view.
 */
export function readFragment(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const keys = [...given].filter(([name]) => name.startsWith("keys."));
  return {
    x: finite(given.get("x")),
    y: finite(given.get("y")),
    um: positive(given.get("um")),
    layers: given.has("layers") ? readLayers(given.get("layers")) : null,
    keys: new Map(keys.map(([name, text]) => [name.slice(5), text.split(",").filter(Boolean)])),
    side: given.get("side") === "1",
  };
}

/** The fragment of a view, as `readFragment` reads it. */
export function writeFragment({ x, y, um, layers, keys, side }) {
  const parts = [`x=${Math.round(x)}`, `y=${Math.round(y)}`, `um=${Number(um.toPrecision(4))}`, ...shown(layers, keys)];
  return `#${[...parts, ...(side ? ["side=1"] : [])].join("&")}`;
}

/** The layers on view, as fragment and server take them: `layers=cells:0.8` and `keys.cells=a,b` where not all are on. */
export function shown(layers, keys) {
  const list = [...layers].map(([id, opacity]) => `${encodeURIComponent(id)}:${Number(opacity.toFixed(2))}`);
  const some = [...keys].map(([id, chosen]) => `keys.${encodeURIComponent(id)}=${keyList(chosen)}`);
  return [`layers=${list.join(",")}`, ...some];
}

/** Keys of a legend as one value of a query. */
export function keyList(keys) {
  return keys.map((key) => encodeURIComponent(key)).join(",");
}

function readLayers(text) {
  const pairs = text.split(",").filter(Boolean).map((part) => part.split(":"));
  return new Map(pairs.map(([id, opacity]) => [id, Math.min(1, Math.max(0, finite(opacity ?? "1") ?? 1))]));
}

function finite(text) {
  return text !== null && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
}

function positive(text) {
  const value = finite(text);
  return value !== null && value > 0 ? value : null;
}
