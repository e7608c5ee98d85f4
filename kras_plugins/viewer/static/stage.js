// The slide as a picture to move around in: OpenSeadragon over the tiles of the server.

const { OpenSeadragon } = globalThis;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A viewer of the slide in `element`; with `overview`, an element for the small picture of the whole slide. */
export function openStage(element, source, overview = null) {
  const stage = new OpenSeadragon.Viewer({
    element,
    tileSources: source,
    // as fast as WebGL with a graphics card, and 50 times as fast without one, as on remote desktops
    drawer: "canvas",
    // more than one pixel of the page per pixel of the slide helps with pointing but shows no more detail
    maxZoomPixelRatio: 4,
    smoothTileEdgesMinZoom: Infinity,
    // layers are transparent: their tiles must meet on whole pixels, else every border would be drawn twice
    subPixelRoundingForTransparency: OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS,
    visibilityRatio: 0.3,
    animationTime: still.matches ? 0 : 0.4,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
    // we handle keys ourselves (keys.js): by the character, on every keyboard layout
    keyboardNavEnabled: false,
    autoResize: false, // fitStage does it immediately
    showNavigationControl: false,
    showNavigator: overview !== null,
    navigatorId: overview?.id,
    navigatorAutoFade: false,
    navigatorBackground: "#fff",
    navigatorOpacity: 1,
    navigatorDisplayRegionColor: "#c00",
  });
  // tells a screen reader or a test that waits for the picture when it is complete
  const showBusy = () => element.setAttribute("aria-busy", String(!isWhole(stage)));
  stage.addHandler("update-viewport", showBusy);
  stage.addHandler("fully-loaded-change", showBusy);
  new ResizeObserver(() => fitStage(stage)).observe(element);
  let smooth = true;
  stage.addHandler("update-viewport", () => {
    const wanted = imageZoom(stage) <= 1;
    if (wanted !== smooth) {
      smooth = wanted;
      stage.drawer.setImageSmoothingEnabled(smooth);
    }
  });
  return stage;
}

/** Keep what a stage shows when its size changes: the same center, and the same width in µm. */
export function fitStage(stage) {
  const { clientWidth, clientHeight } = stage.container;
  const size = new OpenSeadragon.Point(clientWidth, clientHeight);
  if (!stage.viewport || !clientWidth || stage.viewport.getContainerSize().equals(size)) return;
  const [center, zoom] = [stage.viewport.getCenter(), stage.viewport.getZoom()];
  stage.viewport.resize(size);
  stage.viewport.panTo(center, true).zoomTo(zoom, null, true);
  stage.forceRedraw();
}

function isWhole(stage) {
  const images = Array.from({ length: stage.world.getItemCount() }, (_, i) => stage.world.getItemAt(i));
  return images.length > 0 && images.every((image) => image.getOpacity() === 0 || image.getFullyLoaded());
}

/** The pyramid of `folder` (an address) in the form of OpenSeadragon; display: `facts.display`. */
export function tileSource(display, folder, ending) {
  return {
    width: display.width,
    height: display.height,
    tileSize: display.tile,
    tileOverlap: display.overlap,
    minLevel: 0,
    maxLevel: display.levels - 1,
    getTileUrl: (level, column, row) => `${folder}/${level}/${column}_${row}.${ending}`,
  };
}

/** Pixels of the page per pixel of the slide's full resolution. */
export function imageZoom(stage) {
  const image = stage.world.getItemAt(0);
  return image ? image.viewportToImageZoom(stage.viewport.getZoom(true)) : 0;
}

/** Keep two viewers of the same slide at the same place, whichever one is moved. */
export function moveTogether(one, other) {
  let leading = null;
  const follow = (leader, follower) => () => {
    if (leading || !follower.viewport || !follower.world.getItemCount()) return;
    leading = leader;
    follower.viewport.zoomTo(leader.viewport.getZoom(true), null, true);
    follower.viewport.panTo(leader.viewport.getCenter(true), true);
    leading = null;
  };
  one.addHandler("viewport-change", follow(one, other));
  other.addHandler("viewport-change", follow(other, one));
  other.addHandler("open", follow(one, other));
}
