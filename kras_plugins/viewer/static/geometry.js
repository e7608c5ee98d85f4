// Coordinates: level-0 pixels of the slide, OpenSeadragon's viewport (slide width = 1), µm, and pixels of the page.

/** From level-0 pixels to viewport coordinates and back, and lengths of the viewport in µm; display: `facts.display`. */
export function frames({ width, mpp, scale: [sx, sy] }) {
  return {
    toUm: (length) => length * width * mpp,
    fromUm: (um) => um / (width * mpp),
    toView: (x, y) => ({ x: (x * sx) / width, y: (y * sy) / width }),
    toSlide: ({ x, y }) => ({ x: (x * width) / sx, y: (y * width) / sy }),
  };
}

/** The longest bar of 1, 2 or 5 × 10^k µm that is not longer than `most` pixels, where a pixel is `um` µm. */
export function scaleBar(um, most) {
  const longest = um * most;
  const decade = 10 ** Math.floor(Math.log10(longest));
  // a small tolerance for rounding: 5 × 0.1 is not exactly 0.5
  const length = [5, 2, 1].find((step) => step * decade <= longest * (1 + 1e-9)) * decade;
  return { um: length, px: length / um, label: lengthLabel(length) };
}

/** A length in the unit a pathologist would use: µm below a millimeter. */
export function lengthLabel(um) {
  return um >= 1000 ? `${number(um / 1000)} mm` : `${number(um)} µm`;
}

/** Magnification, as on a microscope whose 40× is 0.25 µm per pixel. */
export function magnification(um) {
  return `${number(10 / um)}×`;
}

/** Three significant digits, without trailing zeros, never in scientific notation. */
export function number(value) {
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(digits, 12) }).replace("-", "−");
}
