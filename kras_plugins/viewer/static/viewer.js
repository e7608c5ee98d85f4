// The page of one slide: connects the stage, the panel and the address.

import { layersQuery, readFragment, writeFragment } from "./address.js";
import { frames, magnification, scaleBar } from "./geometry.js";
import { CLOSER, listenToKeys } from "./keys.js";
import { layerPanel } from "./layers.js";
import { json, part, report } from "./page.js";
import { watchPlaces } from "./place.js";
import { fitStage, imageZoom, moveTogether, openStage, tileSource } from "./stage.js";

const { OpenSeadragon } = globalThis;
const { base } = part("stages").dataset;

json(`${base}/facts`).then(open, (error) => report(`This slide could not be opened: ${error.message}`));

function open(facts) {
  const frame = frames(facts.display);
  const pixels = tileSource(facts.display, `${base}/pixels`, "jpg");
  const stage = openStage(part("slide"), pixels, part("overview"));
  const side = sideBySide(facts, stage, pixels);
  const panel = layerPanel(part("layers"), stage, facts, base, () => changed());
  const places = watchPlaces(stage, frame, facts, base);
  nameCanvas(stage, `Slide ${facts.slide_id}. Arrow keys move, plus and minus zoom, question mark lists all keys.`);

  const state = () => {
    const { x, y } = frame.toSlide(stage.viewport.getCenter());
    return { x, y, um: frame.toUm(stage.viewport.getBounds().width), layers: panel.state(), side: side.on() };
  };
  // moving replaces the history entry: the back button returns to where a link was followed
  let writing = 0;
  const changed = () => {
    clearTimeout(writing);
    writing = setTimeout(() => {
      history.replaceState(null, "", writeFragment(state()));
      part("save").href = pictureAddress(stage, frame, panel.state());
    }, 150);
  };
  const go = ({ x, y, um, layers, side: beside }, immediately) => {
    if (layers) {
      panel.show(layers);
      side.show(beside);
    }
    if (x === null || y === null) return;
    const point = frame.toView(x, y);
    stage.viewport.panTo(new OpenSeadragon.Point(point.x, point.y), immediately);
    if (um) stage.viewport.zoomTo(1 / frame.fromUm(um), null, immediately);
    stage.viewport.applyConstraints(immediately);
  };

  stage.addOnceHandler("open", () => {
    go(readFragment(location.hash), true);
    stage.canvas.focus({ preventScroll: true });
    changed();
  });
  stage.addHandler("viewport-change", changed);
  stage.addHandler("update-viewport", () => showScale(facts.display.mpp / imageZoom(stage)));
  stage.addHandler("animation-finish", () => part("crosshair").hidden || places.lookAtCenter());
  stage.addHandler("tile-load-failed", () => report("A part of the picture could not be read. Is `kras view` running?"));
  addEventListener("hashchange", () => go(readFragment(location.hash), false));

  const commands = {
    in: () => stage.viewport.zoomBy(CLOSER).applyConstraints(),
    out: () => stage.viewport.zoomBy(1 / CLOSER).applyConstraints(),
    home: () => stage.viewport.goHome(),
    side: () => {
      side.show(!side.on());
      changed();
    },
    print: () => print(),
    ask: () => part("help").showModal(),
    fold: () => fold(!part("panel").hidden),
  };
  for (const [id, command] of Object.entries(commands)) part(id).addEventListener("click", command);
  listenToKeys(part("stages"), stage, {
    "?": commands.ask,
    s: commands.side,
    p: commands.fold,
    i: () => {
      part("crosshair").hidden = !part("crosshair").hidden;
      if (!part("crosshair").hidden) places.lookAtCenter();
    },
    Enter: places.findAtCenter,
  });
  printable(part("stages"));
  // on a phone the slide comes first
  fold(matchMedia("(max-width: 46rem)").matches);
}

/** The bare slide beside it: `show(on)` opens it on first use; `on()` says whether it is visible. */
function sideBySide(facts, stage, pixels) {
  let bare = null;
  const on = () => !part("bare").hidden;
  return {
    on,
    show(wanted) {
      part("bare").hidden = !wanted;
      part("stages").classList.toggle("side", wanted);
      part("side").setAttribute("aria-pressed", String(wanted));
      fitStage(stage);
      if (!wanted || bare) return;
      bare = openStage(part("bare"), pixels);
      nameCanvas(bare, `Slide ${facts.slide_id} without layers`);
      moveTogether(stage, bare);
    },
  };
}

/** Print the view as it is, scaled down with its scale bar if the page is wider than the paper. */
function printable(stages) {
  const paper = 680; // pixels between the margins of A4 and Letter
  addEventListener("beforeprint", () => {
    const { clientWidth: width, clientHeight: height } = stages;
    Object.assign(stages.style, { width: `${width}px`, height: `${height}px`, zoom: Math.min(1, paper / width) });
  });
  addEventListener("afterprint", () => Object.assign(stages.style, { width: "", height: "", zoom: "" }));
}

function nameCanvas(stage, label) {
  stage.canvas.setAttribute("role", "application");
  stage.canvas.setAttribute("aria-label", label);
}

function fold(hidden) {
  part("panel").hidden = hidden;
  part("fold").setAttribute("aria-expanded", String(!hidden));
}

function showScale(um) {
  if (!Number.isFinite(um)) return;
  const bar = scaleBar(um, 140);
  part("bar").style.width = `${bar.px}px`;
  part("length").textContent = bar.label;
  part("magnification").textContent = magnification(um);
}

/** Address of the view as the server draws it, at most twice as fine as the page. */
function pictureAddress(stage, frame, layers) {
  const { x, y, width, height } = stage.viewport.getBounds();
  const [from, to] = [frame.toSlide({ x, y }), frame.toSlide({ x: x + width, y: y + height })];
  const box = { x: from.x, y: from.y, w: to.x - from.x, h: to.y - from.y };
  const size = stage.viewport.getContainerSize();
  const px = Math.round(Math.max(size.x, size.y) * Math.min(2, devicePixelRatio));
  const place = Object.entries(box).map(([name, value]) => `${name}=${value.toFixed(1)}`);
  return `${base}/view.png?${[...place, `px=${px}`, layersQuery(layers)].join("&")}`;
}
