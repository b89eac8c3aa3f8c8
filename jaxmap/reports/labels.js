// Names beside points, where there is room for them.
page.placeNames = (asked) => {
  "use strict";
  const { x, y, labels, ranges, width, height, others } = asked;
  const size = 12;
  const [[left, right], [low, high]] = ranges;
  const seen = (px, py) => [(px - left) / (right - left) * width,
    (high - py) / (high - low) * height];
  const at = x.map((value, k) => seen(value, y[k]));
  const long = (label) => label.length * size * 0.56;
  const box = ([px, py], label, place) => {
    const w = long(label), h = size * 1.15;
    const [bx, by] = { "top center": [px - w / 2, py - h - 8], "bottom center": [px - w / 2, py + 8],
      "middle right": [px + 8, py - h / 2], "middle left": [px - 8 - w, py - h / 2] }[place];
    return [bx, by, bx + w, by + h];
  };
  const shared = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) *
    Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  // Of the other points on the map too; a name's own point is beside it, never under it.
  const points = [...at, ...others.map(([px, py]) => seen(px, py))]
    .map(([px, py]) => [px - 4, py - 4, px + 4, py + 4]);
  const taken = [];
  return labels.map((label, k) => {
    if (!label) return ["", "top center"];
    const choices = ["top center", "bottom center", "middle right", "middle left"].map((place) => {
      const own = box(at[k], label, place);
      const hidden = [...taken, ...points.filter((_, j) => j !== k)]
        .reduce((sum, other) => sum + shared(own, other), 0);
      const out = Math.max(0, -own[0]) + Math.max(0, own[2] - width) +
        Math.max(0, -own[1]) + Math.max(0, own[3] - height);
      return { place, own, cost: hidden + 20 * out };
    }).sort((a, b) => a.cost - b.cost);
    const best = choices[0];
    if (best.cost > 0.15 * long(label) * size) return ["", "top center"];
    taken.push(best.own);
    return [label, best.place];
  });
};
