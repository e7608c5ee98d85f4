// What is known about a place: values under the pointer and at the center, and tiles that look like the one there.

import { latest, make, part, report } from "./page.js";
import { similarItems } from "./similar.js";
import { placeRows } from "./values.js";

const { OpenSeadragon } = globalThis;

/** Values under the pointer and at the crosshair; tiles similar to the clicked one. */
export function watchPlaces(stage, frame, facts, base) {
  const ask = latest(120);
  const askSimilar = latest(0);
  const outline = make("div", { className: "outline" });

  const placeAt = (position) => frame.toSlide(stage.viewport.viewerElementToViewportCoordinates(position));
  const center = () => frame.toSlide(stage.viewport.getCenter());
  const inside = ({ x, y }) => x >= 0 && y >= 0 && x < facts.width && y < facts.height;
  const query = ({ x, y }) => `x=${x.toFixed(1)}&y=${y.toFixed(1)}`;

  const look = async (place, aloud) => {
    if (!inside(place)) return;
    try {
      const answer = await ask(`${base}/at?${query(place)}`);
      if (answer === null) return;
      const parts = placeRows(answer);
      part("values").replaceChildren(...(parts.length ? parts.flatMap(valueTable) : [nothing("Nothing is known here.")]));
      outlineTile(answer.tile);
      if (aloud) part("spoken").textContent = parts.map(sentence).join(" ");
    } catch (error) {
      report(error.message);
    }
  };

  const outlineTile = (tile) => {
    stage.removeOverlay(outline);
    if (!tile) return;
    const from = frame.toView(...tile.xy);
    const to = frame.toView(tile.xy[0] + tile.size[0], tile.xy[1] + tile.size[1]);
    stage.addOverlay(outline, new OpenSeadragon.Rect(from.x, from.y, to.x - from.x, to.y - from.y));
  };

  const findSimilar = async (place) => {
    if (!inside(place)) return;
    report("Searching for similar tiles");
    try {
      const answer = await askSimilar(`${base}/similar?${query(place)}&n=12`);
      if (answer === null) return;
      const items = similarItems(answer.hits, base, frame.toUm(stage.viewport.getBounds().width));
      part("similar-of").textContent = answer.of;
      part("similar").replaceChildren(...items);
      part("similar-part").hidden = false;
      part("similar-part").scrollIntoView({ block: "nearest" });
      report(items.length ? `${items.length} similar tiles, in the panel` : "No similar tiles");
    } catch (error) {
      report(error.message);
    }
  };

  stage.canvas.addEventListener("pointermove", (event) => {
    const { left, top } = stage.canvas.getBoundingClientRect();
    look(placeAt(new OpenSeadragon.Point(event.clientX - left, event.clientY - top)), false);
  });
  stage.addHandler("canvas-click", (event) => {
    if (!event.quick) return;
    const place = placeAt(event.position);
    look(place, false);
    findSimilar(place);
  });

  return {
    /** Values at the center of the view, also read by screen readers. */
    lookAtCenter: () => look(center(), true),
    /** Values at the center, and the tiles that look like the one there. */
    findAtCenter: () => {
      look(center(), true);
      findSimilar(center());
    },
  };
}

function sentence([title, rows]) {
  return `${title}: ${rows.map((row) => row.join(" ")).join(", ")}.`;
}

function valueTable([title, rows]) {
  const line = ([name, text]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, text));
  return [make("h3", {}, title), make("table", {}, make("tbody", {}, ...rows.map(line)))];
}

function nothing(text) {
  return make("p", { className: "muted" }, text);
}
