// The panel of layers: which are on, how opaque they are, and which entries of their legends are drawn.

import { keysQuery } from "./address.js";
import { tileSource } from "./stage.js";

/**
 * Connect the panel `form` to the stage. Returns {show(layers), state()}, both with maps as in the page's address;
 * `changed` is called after each change by the user.
 */
export function layerPanel(form, stage, facts, base, changed) {
  const rows = facts.layers.map((layer) => layerRow(form, layer));
  const images = new Map();

  const update = (row) => {
    const { id } = row.layer;
    const opacity = row.box.checked ? Number(row.slider.value) : 0;
    const query = keysQuery(row.chosen());
    const old = images.get(id);
    if (old && old.query === query) {
      old.opacity = opacity;
      old.item?.setOpacity(opacity);
    } else if (old || opacity > 0) {
      if (old?.item) stage.world.removeItem(old.item);
      const image = { query, opacity, item: null };
      images.set(id, image);
      add(row, image);
    }
    row.slider.disabled = !row.box.checked;
    row.percent.textContent = `${Math.round(row.slider.value * 100)} %`;
  };

  const add = (row, image) => {
    stage.addTiledImage({
      tileSource: tileSource(facts.display, `${base}/layers/${encodeURIComponent(row.layer.id)}`, `png${image.query}`),
      opacity: image.opacity,
      success: ({ item }) => {
        // a newer choice of classes may have been made while this one was opened
        if (images.get(row.layer.id) !== image) return stage.world.removeItem(item);
        image.item = item;
        item.setOpacity(image.opacity);
        arrange();
      },
    });
  };

  // the first layer of the panel lies lowest, whichever was switched on first
  const arrange = () => {
    const order = rows.map((row) => images.get(row.layer.id)?.item).filter(Boolean);
    order.forEach((item, place) => stage.world.setItemIndex(item, place + 1));
  };

  for (const row of rows) {
    row.element.addEventListener("input", () => {
      update(row);
      changed();
    });
  }

  return {
    show(layers) {
      for (const row of rows) {
        const wanted = layers.get(row.layer.id);
        row.box.checked = wanted !== undefined;
        if (wanted) row.slider.value = wanted.opacity;
        for (const entry of row.entries) entry.checked = !wanted?.keys || wanted.keys.includes(entry.value);
        update(row);
      }
    },
    state() {
      const on = rows.filter((row) => row.box.checked);
      return new Map(on.map((row) => [row.layer.id, { opacity: Number(row.slider.value), keys: row.chosen() }]));
    },
  };
}

function layerRow(form, layer) {
  const element = [...form.querySelectorAll("[data-layer]")].find((found) => found.dataset.layer === layer.id);
  const entries = [...element.querySelectorAll("input[name=entry]")];
  return {
    layer,
    element,
    entries,
    box: element.querySelector("input[name=on]"),
    slider: element.querySelector("input[name=opacity]"),
    percent: element.querySelector(".percent"),
    /** Keys of the entries that are drawn, null for all. */
    chosen: () =>
      entries.every((entry) => entry.checked) ? null : entries.filter((entry) => entry.checked).map((entry) => entry.value),
  };
}
