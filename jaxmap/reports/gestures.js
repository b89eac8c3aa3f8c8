// A map in a page: the wheel and one finger scroll the page; Ctrl and the wheel, or two fingers, zoom.
page.gestures = (plot) => {
  "use strict";
  plot.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();  // plotly never hears of it
  }, { capture: true, passive: true });
  const centre = ({ touches: [a, b] }) => [(a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2];
  const apart = ({ touches: [a, b] }) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  let pinch = null;
  plot.addEventListener("touchstart", (event) => {
    event.stopPropagation();
    if (event.touches.length !== 2) { pinch = null; return; }
    event.preventDefault();
    const { xaxis, yaxis } = plot._fullLayout;
    pinch = { from: centre(event), apart: apart(event), x: [...xaxis.range], y: [...yaxis.range] };
  }, { capture: true, passive: false });
  plot.addEventListener("touchmove", (event) => {
    event.stopPropagation();
    if (!pinch || event.touches.length !== 2) return;
    event.preventDefault();
    const box = plot.getBoundingClientRect();
    const { xaxis, yaxis } = plot._fullLayout;
    const share = pinch.apart / Math.max(apart(event), 1);
    const [toX, toY] = centre(event);
    const zoomed = ([low, high], fixed, moved) => [fixed + (low - fixed) * share - moved,
      fixed + (high - fixed) * share - moved];
    const spanX = pinch.x[1] - pinch.x[0], spanY = pinch.y[1] - pinch.y[0];
    const fixedX = pinch.x[0] + (pinch.from[0] - box.left - xaxis._offset) / xaxis._length * spanX;
    const fixedY = pinch.y[1] - (pinch.from[1] - box.top - yaxis._offset) / yaxis._length * spanY;
    Plotly.relayout(plot, {
      "xaxis.range": zoomed(pinch.x, fixedX, (toX - pinch.from[0]) / xaxis._length * spanX * share),
      "yaxis.range": zoomed(pinch.y, fixedY, -(toY - pinch.from[1]) / yaxis._length * spanY * share),
    });
  }, { capture: true, passive: false });
  plot.addEventListener("touchend", (event) => {
    event.stopPropagation();
    if (event.touches.length < 2) pinch = null;
  }, { capture: true });
};
