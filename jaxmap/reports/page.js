// What the parts of the page share. `#map-data` holds what is drawn; nothing is fetched.
const page = (() => {
  "use strict";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const draws = [];  // of the parts that are on this page
  return {
    data: JSON.parse(document.getElementById("map-data").textContent),
    get: (id) => document.getElementById(id),
    css,
    draws,
    // Plotly reads a little HTML in texts; a model's name is never markup.
    safe: (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"),
    short: (value) => value >= 1e9 ? `${+(value / 1e9).toPrecision(3)}B`
      : value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M`
        : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en")
          : `${+value.toPrecision(3)}`,
    whole: (value) => Math.round(value).toLocaleString("en"),
    kl: (value) => `${+value.toPrecision(3)} bits per byte`,
    config: { displaylogo: false, responsive: true, scrollZoom: true,
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] },
    axes: () => ({ gridcolor: css("--line"), zerolinecolor: css("--line"),
      linecolor: css("--faint"), tickfont: { color: css("--soft") } }),
    paper: () => ({ paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 13, color: css("--ink") },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: css("--ink") },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--faint"), align: "left",
        font: { color: css("--ink") } } }),
    start: () => {
      const all = () => draws.forEach((draw) => draw());
      all();
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
      matchMedia("print").addEventListener("change", all);
      document.documentElement.dataset.drawn = "yes";
    },
  };
})();
