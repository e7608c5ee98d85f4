// The keyboard: what each key does while the slide has the focus.

const STEP = 0.2; // of the view, per press of an arrow
/** The zoom factor of one step. */
export const CLOSER = 1.5;

/** Connect keys to a stage in `element`; `commands`: {key: function} for keys that do not move the view. */
export function listenToKeys(element, stage, commands) {
  const pan = (x, y) => () => {
    const { width, height } = stage.viewport.getBounds();
    const { Point } = globalThis.OpenSeadragon;
    stage.viewport.panBy(new Point(x * STEP * width, y * STEP * height));
    stage.viewport.applyConstraints();
  };
  const zoom = (factor) => () => {
    stage.viewport.zoomBy(factor);
    stage.viewport.applyConstraints();
  };
  const moves = {
    ArrowLeft: pan(-1, 0), ArrowRight: pan(1, 0), ArrowUp: pan(0, -1), ArrowDown: pan(0, 1),
    "+": zoom(CLOSER), "=": zoom(CLOSER), "-": zoom(1 / CLOSER), "−": zoom(1 / CLOSER), 0: () => stage.viewport.goHome(),
  };
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = moves[event.key] ?? commands[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
