// What the parts of the page share. `#map-data` holds what is drawn; nothing is fetched.
const page = (() => {
  "use strict";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // 0.767, 12,300, 6.5 × 10⁻⁵: so many significant digits.
  const number = (value, digits) => {
    if (value === 0) return "0";
    if (Math.abs(value) >= 1e-3) {
      return (+value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
    }
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    const raised = [...String(+power)].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
    return `${mantissa} × 10${raised.join("")}`;
  };
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
    number,
    whole: (value) => Math.round(value).toLocaleString("en"),
    kl: (value) => `${number(value, 3)} bits per byte`,
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
