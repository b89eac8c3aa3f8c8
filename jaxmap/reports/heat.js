// KL between all models, in the order of a tree.
(() => {
  "use strict";
  const { data, get, css, number, kl, safe, config, axes, paper } = page;
  const one = data.heat;
  if (!one) return;
  const plot = get("heat-plot");
  const tip = get("heat-tip");
  const count = one.labels.length;
  const longest = one.labels.reduce((most, label) => Math.max(most, label.length), 0);
  const bytes = Uint8Array.from(atob(one.kl), (letter) => letter.charCodeAt(0));
  const codes = new DataView(bytes.buffer);
  // Pairs above the diagonal, row by row; see heat_map.py.
  const place = (i, j) => i < j ? i * count - i * (i + 1) / 2 + j - i - 1 : place(j, i);
  const log = (i, j) => {
    const code = i === j ? 0 : codes.getUint16(2 * place(i, j), true);
    return code ? one.low + (code - 1) / 65534 * (one.high - one.low) : null;
  };
  const logs = one.labels.map((_, i) => one.labels.map((_, j) => log(i, j)));

  function draw() {
    const ticks = [0, 1, 2, 3].map((i) => one.low + (one.high - one.low) * i / 3);
    const places = one.labels.map((_, i) => i);
    // Names as large as a row, unless that is too small to read; then there are none.
    const wide = plot.clientWidth;
    const most = Math.min(260, wide * 0.34);
    const font = Math.min(12, (wide - most - 8) / count * 0.9);
    const few = font >= 7;
    const side = few ? most : 14;
    const cell = (wide - side - 8) / count;
    const room = Math.floor((side - 10) / (0.58 * font));  // letters
    const under = few ? Math.min(side, 10 + 0.58 * font * longest) * 0.9 + 6 : 14;
    const numbers = count <= 12 && cell >= 26;
    plot.style.height = `${Math.round(62 + count * cell / 0.84 + under)}px`;
    const cut = one.labels.map((label) => safe(label.length > room
      ? `…${label.slice(1 - room)}` : label));
    Plotly.react(plot, [
      { type: "heatmap", x: places, y: places, z: logs, colorscale: "Viridis", zmin: one.low,
        zmax: one.high, hoverinfo: "none",
        ...(numbers ? { texttemplate: "%{text}", textfont: { size: cell >= 40 ? 12 : 9 },
          text: logs.map((row) => row.map((value) => value === null ? "0"
            : number(Math.pow(10, value), 2).replace(" × ", cell >= 60 ? " × " : "·"))) } : {}),
        colorbar: { title: { text: "KL (bits per byte)", side: "top" }, orientation: "h", y: 1.02,
          yanchor: "bottom", thickness: 10, len: 0.9, tickvals: ticks, outlinewidth: 0,
          ticktext: ticks.map((tick) => number(Math.pow(10, tick), 3)) } },
      { x: one.tree.x, y: one.tree.y, yaxis: "y2", mode: "lines", hoverinfo: "skip",
        line: { color: css("--soft"), width: 1 } },
    ], { ...paper(), showlegend: false, margin: { l: side, r: 8, t: 62, b: under },
      xaxis: { ...axes(), showgrid: false, zeroline: false, range: [-0.5, count - 0.5],
        tickvals: few ? places : [], ticktext: cut, tickangle: -60,
        tickfont: { color: css("--soft"), size: font } },
      yaxis: { ...axes(), showgrid: false, zeroline: false, range: [count - 0.5, -0.5],
        domain: [0, 0.84], tickvals: few ? places : [], ticktext: cut,
        tickfont: { color: css("--soft"), size: font } },
      yaxis2: { domain: [0.86, 1], visible: false, range: [0, one.tree.top * 1.05],
        fixedrange: true } },
    { ...config, scrollZoom: false });
  }

  // Our own tip: a text for each of a million pairs would take a phone's memory.
  function tell({ points, event }) {
    const [i, j] = [Math.round(points[0].y), Math.round(points[0].x)];
    const value = logs[i][j];
    const lines = i === j ? [one.labels[i], "itself"]
      : [one.labels[i], one.labels[j], `KL ${value === null ? "0" : kl(Math.pow(10, value))}`];
    tip.replaceChildren(...lines.map((line) => {
      const element = document.createElement("div");
      element.textContent = line;
      return element;
    }));
    tip.hidden = false;
    const at = event.touches ? event.touches[0] || event.changedTouches[0] : event;
    const left = Math.min(at.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, at.clientY - tip.offsetHeight - 14)}px`;
  }

  page.gestures(plot);
  page.draws.push(() => {
    draw();
    plot.removeAllListeners("plotly_hover");
    plot.on("plotly_hover", tell);
    plot.removeAllListeners("plotly_unhover");
    plot.on("plotly_unhover", () => { tip.hidden = true; });
  });
})();
