// Tiles that look like the one that was clicked, as links with pictures.

import { make } from "./page.js";

/**
 * The answer of `/similar` as list items. `um`: width in µm of the view that a link opens; `base`: address of this
 * slide. A tile of a slide that is not open here has no link.
 */
export function similarItems(hits, base, um) {
  const root = base.slice(0, base.lastIndexOf("/slides/")); // where these pages are, on a server that has others
  return hits.map((hit) => {
    const name = `${hit.training ? "training cohort, " : ""}${hit.slide_id}`;
    const text = `${name}: x ${Math.round(hit.xy[0])}, y ${Math.round(hit.xy[1])}; cosine ${hit.cosine.toFixed(3)}`;
    const picture = hit.picture
      ? make("img", { src: `${root}${hit.picture}`, alt: "" })
      : make("span", { className: "no-picture" }, "no picture: the slide is not open here");
    const content = [picture, make("span", {}, text)];
    return make("li", {}, hit.slide === null ? make("div", {}, ...content) : link(hit, root, base, um, content));
  });
}

function link(hit, root, base, um, content) {
  const [x, y] = [0, 1].map((axis) => Math.round(hit.xy[axis] + hit.size[axis] / 2));
  const folder = `${root}/slides/${encodeURIComponent(hit.slide)}`;
  const place = `#x=${x}&y=${y}&um=${Math.round(um)}`;
  const href = folder === base ? place : `${folder}${place}`;
  return make("a", { href }, ...content);
}
